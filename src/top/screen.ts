/**
 * The terminal while `top` has it: its alternate screen, so that what stood there before stands
 * there again afterwards, however the process ends (but by SIGKILL).
 */
import { Writable } from 'node:stream';
import ansiEscapes from 'ansi-escapes';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** Of a terminal that does not say: a VT100. */
const SIZE: Size = { columns: 80, rows: 24 };

/**
 * What Ink writes to in place of stdout. Ink clears a terminal that it believes too small for its
 * frame, scrollback and all, which would not be as it was; so it is told of endless rows, and a
 * frame that fits is our affair.
 */
export class Screen extends Writable {
  readonly isTTY = true;
  readonly rows = Number.MAX_SAFE_INTEGER;
  private isOpen = false;
  private readonly leave = () => this.close();

  constructor(private readonly terminal: NodeJS.WriteStream) {
    super({ decodeStrings: false });
  }

  get columns(): number {
    return this.size().columns;
  }

  size(): Size {
    const { columns, rows } = this.terminal;
    return { columns: columns || SIZE.columns, rows: rows || SIZE.rows };
  }

  open(): void {
    this.isOpen = true;
    process.once('exit', this.leave);
    this.terminal.write(ansiEscapes.enterAlternativeScreen + ansiEscapes.clearViewport);
  }

  /** Calls `draw` whenever the terminal has another size; then Ink is told. */
  onResize(draw: () => void): void {
    this.terminal.on('resize', () => {
      if (!this.isOpen) return;
      this.terminal.write(ansiEscapes.clearViewport); // lines were cut or wrapped
      draw();
      this.emit('resize');
    });
  }

  /** Closing twice is fine. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    process.off('exit', this.leave);
    this.terminal.write(ansiEscapes.cursorShow + ansiEscapes.exitAlternativeScreen);
  }

  override _write(chunk: string | Buffer, _: BufferEncoding, done: () => void): void {
    if (this.isOpen) this.terminal.write(chunk);
    done();
  }
}
