/** One timer that is set from many places: the soonest of all times that it was set to counts. */
export class Alarm {
  private timer: NodeJS.Timeout | null = null;
  private at_ms = Number.POSITIVE_INFINITY;
  private stopped = false;

  /** `now_ms` never goes back. */
  constructor(
    private readonly now_ms: () => number,
    private readonly ring: () => void,
  ) {}

  /** Infinity sets nothing. */
  set(within_ms: number): void {
    if (this.stopped || within_ms === Number.POSITIVE_INFINITY) return;
    const at_ms = this.now_ms() + within_ms;
    if (this.timer !== null) {
      if (this.at_ms <= at_ms) return;
      clearTimeout(this.timer);
    }
    this.at_ms = at_ms;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.ring();
    }, within_ms);
  }

  /** For good. */
  stop(): void {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
