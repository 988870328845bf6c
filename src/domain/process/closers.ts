/** What is open and how it is closed again: in reverse, all of it, once. */
export class Closers {
  private closers: (() => Promise<void> | void)[] = [];

  /** `onError`: one could not be closed; the rest are closed all the same. */
  constructor(private readonly onError: (error: unknown) => void) {}

  add(close: () => Promise<void> | void): void {
    this.closers.push(close);
  }

  /** The same of a thing that closes itself, which it gives back. */
  keep<Thing extends { close(): Promise<void> | void }>(thing: Thing): Thing {
    this.add(() => thing.close());
    return thing;
  }

  /** A mark for `close`: what is open at this moment. */
  get count(): number {
    return this.closers.length;
  }

  /** Closes, in reverse, what was opened after the first `kept` things; nothing twice. */
  async close(kept = 0): Promise<void> {
    for (const close of this.closers.splice(kept).reverse()) {
      try {
        await close();
      } catch (error) {
        this.onError(error);
      }
    }
  }
}
