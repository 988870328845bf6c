/**
 * How far a command is: one line on stderr, written anew, with a bar and when it will be done. Only
 * on a terminal: what reads a pipe or a file gets no progress. However the process ends, but by a
 * signal that nobody handles, the line is gone then.
 *
 * The estimate is by the mean of all so far: what runs at a rate of its own, or by the clock, ends
 * when it says.
 */

/** Between two draws. */
const DRAW_MS_MIN = 100;
/** Without news the time left goes down by the clock. */
const DRAW_MS_MAX = 1000;
const BAR_WIDTH = 16;
/** Where the terminal does not say. */
const COLUMNS = 80;
/** To the first column, and nothing behind it (ECMA-48: CR, EL). */
const WIPE = '\r\x1b[K';

export interface ProgressOptions {
  /** What is `done` at the end. */
  readonly total: number;
  /** With --json a program reads along. */
  readonly asJson?: boolean;
  /** How long it takes as a rule, milliseconds: the estimate until something is done. */
  readonly usual_ms?: number;
}

export class Progress {
  private readonly isShown: boolean;
  private readonly began_ms = performance.now();
  private timer: NodeJS.Timeout | undefined;
  private readonly exit = () => this.clean();
  private done = 0;
  private note = '';
  /** Null: nothing tells yet. */
  private end_ms: number | null;
  private isDrawn = false;
  private wasDrawn = false;
  private drawn_ms = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: ProgressOptions) {
    const { asJson = false, usual_ms } = options;
    this.isShown = process.stderr.isTTY === true && !asJson;
    this.end_ms = usual_ms === undefined ? null : this.began_ms + usual_ms;
    if (this.isShown) process.on('exit', this.exit);
  }

  /** `note`: what it is at, or has come to. */
  update(done: number, note: string): void {
    if (!this.isShown) return;
    const now = performance.now();
    const { total } = this.options;
    if (done > 0) this.end_ms = now + ((now - this.began_ms) / done) * Math.max(total - done, 0);
    this.done = done;
    this.note = note;
    this.timer ??= setInterval(() => this.draw(), DRAW_MS_MAX).unref();
    if (now - this.drawn_ms >= DRAW_MS_MIN) this.draw();
  }

  /** For lines that stay, on stderr or stdout: they stand above it. */
  aside(print: () => void): void {
    this.wipe();
    print();
  }

  close(): void {
    if (!this.isShown) return;
    clearInterval(this.timer);
    process.off('exit', this.exit);
    this.clean();
  }

  private draw(): void {
    const now = performance.now();
    const { total } = this.options;
    const left_ms = this.end_ms === null ? null : Math.max(this.end_ms - now, 0);
    const line = progressLine({ share: this.done / total, left_ms, note: this.note });
    // one column is left free: a line that fills the last one goes on in the next on some terminals
    const columns = (process.stderr.columns || COLUMNS) - 1;
    process.stderr.write(`${WIPE}${line.slice(0, columns)}`);
    this.isDrawn = this.wasDrawn = true;
    this.drawn_ms = now;
  }

  private wipe(): void {
    if (this.isDrawn) process.stderr.write(WIPE);
    this.isDrawn = false;
  }

  /** The terminal may have shown a key, such as ^C, where the line was. */
  private clean(): void {
    this.isDrawn = this.wasDrawn;
    this.wipe();
  }
}

export interface Drawn {
  /** Done, of 1. */
  readonly share: number;
  readonly left_ms: number | null;
  readonly note: string;
}

/** `[========--------] 50 %, 1:05 left, sent 500 of 1,000` */
export function progressLine({ share, left_ms, note }: Drawn): string {
  const within = Math.min(Math.max(share, 0), 1);
  const full = Math.floor(within * BAR_WIDTH);
  const bar = `${'='.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}`;
  const left = left_ms === null ? '' : `, ${clockText(left_ms)} left`;
  return `[${bar}] ${Math.floor(within * 100)} %${left}${note === '' ? '' : `, ${note}`}`;
}

/** `1:05`, or `2:00:00` from an hour on. */
export function clockText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}
