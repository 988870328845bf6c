/**
 * A word that the browser keeps for the page. One that denies its storage (by a setting, or in a
 * frame) takes nothing else away: then the word lasts as long as the page.
 */
export class Kept {
  private word: string | null = null;

  constructor(
    private readonly key: string,
    private readonly storage: () => Storage,
  ) {}

  get(): string | null {
    return this.tried((storage) => storage.getItem(this.key)) ?? this.word;
  }

  set(word: string): void {
    this.word = word;
    this.tried((storage) => storage.setItem(this.key, word));
  }

  remove(): void {
    this.word = null;
    this.tried((storage) => storage.removeItem(this.key));
  }

  /** Null where the browser denies it, or has no room. */
  private tried<Result>(use: (storage: Storage) => Result): Result | null {
    try {
      return use(this.storage());
    } catch (thrown) {
      if (thrown instanceof DOMException) return null;
      throw thrown;
    }
  }
}
