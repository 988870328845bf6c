/** Values by key, several to a key; a key is there as long as it has any. */
export class Groups<Value> {
  private readonly groups = new Map<string, Set<Value>>();

  add(key: string, value: Value): void {
    const group = this.groups.get(key);
    if (group === undefined) this.groups.set(key, new Set([value]));
    else group.add(value);
  }

  /** True if that was the last one of its key. */
  delete(key: string, value: Value): boolean {
    const group = this.groups.get(key);
    group?.delete(value);
    return group?.size === 0 && this.groups.delete(key);
  }

  /** A copy: whoever goes through it may add and delete. */
  of(key: string): Value[] {
    return [...(this.groups.get(key) ?? [])];
  }

  has(key: string): boolean {
    return this.groups.has(key);
  }

  keys(): Iterable<string> {
    return this.groups.keys();
  }
}
