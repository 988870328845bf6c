/** A place for the views of a demo: redraws on a terminal, appends elsewhere, or tells JSON. */
import { wrapped } from '../terminal/wrapping.js';

/** What is shown of a view; pure. */
export interface Sheet<View> {
  /** The view as a table, line by line, each of so many characters at most. */
  readonly lines: (view: View, width: number) => readonly string[];
  /** What stands below the table: with each view on a terminal, once elsewhere. */
  readonly hints: (view: View, width: number) => readonly string[];
  /** One JSON object without a line end. */
  readonly json: (view: View) => string;
  /** A line to copy: it wraps rather than lose its end. */
  readonly isToCopy: (line: string) => boolean;
}

/** Of an output that tells no width. */
const COLUMNS = 80;
const NOTE_INDENT = 2;

export class Screen<View extends { readonly isFinal: boolean }> {
  /** Rows of the table that is on the terminal now. */
  #drawn = 0;
  #hinted = false;

  constructor(
    private readonly output: NodeJS.WriteStream,
    private readonly asJson: boolean,
    private readonly sheet: Sheet<View>,
  ) {}

  /** A line that stays: on a terminal above the table, with --json on stderr. */
  note(line: string): void {
    if (this.asJson) {
      process.stderr.write(`${line}\n`);
      return;
    }
    this.#erase();
    const lines = this.output.isTTY ? wrapped(line, this.#width, NOTE_INDENT) : [line];
    this.output.write(`${lines.join('\n')}\n`);
  }

  show(view: View): void {
    const { lines, hints, json } = this.sheet;
    const width = this.#width;
    if (this.asJson) this.output.write(`${json(view)}\n`);
    else if (this.output.isTTY)
      this.#redraw([...lines(view, width), '', ...(view.isFinal ? [] : hints(view, width))]);
    else this.#append(view);
    // What is final stays on the terminal, whatever is said after it.
    if (view.isFinal) this.#drawn = 0;
  }

  /** One column is left free: a line that fills the last one goes on in the next on some. */
  get #width(): number {
    return (this.output.columns || COLUMNS) - 1;
  }

  #append(view: View): void {
    const { lines, hints } = this.sheet;
    if (!this.#hinted) this.output.write(`${hints(view, this.#width).join('\n')}\n\n`);
    this.#hinted = true;
    this.output.write(`${lines(view, this.#width).join('\n')}\n\n`);
  }

  #redraw(lines: readonly string[]): void {
    this.#erase();
    // A line that wraps would take two rows; those that may are counted by theirs.
    const width = this.#width;
    const { isToCopy } = this.sheet;
    const shown = lines.map((line) => (isToCopy(line) ? line : line.slice(0, width)));
    this.#drawn = shown.reduce(
      (rows, line) => rows + Math.max(Math.ceil(line.length / (width + 1)), 1),
      0,
    );
    this.output.write(`${shown.join('\n')}\n`);
  }

  #erase(): void {
    // from the first column: the terminal may have shown a key there, such as ^C
    if (this.#drawn > 0) this.output.write(`\r\x1b[${this.#drawn}A\x1b[0J`);
    this.#drawn = 0;
  }
}
