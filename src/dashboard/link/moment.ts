/** A moment as this page has it. */
export interface Moment {
  /** By performance.now(), for how long ago it was: a clock can be set. */
  readonly since_ms: number;
  /** Milliseconds since 1970, for people. */
  readonly at_ms: number;
}

export const moment = (): Moment => ({ since_ms: performance.now(), at_ms: Date.now() });
