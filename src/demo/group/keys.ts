/**
 * Keys that are pressed while a demo runs: of a terminal each at once, of a pipe as they come. On a
 * terminal Ctrl-C is one of them, and nobody else's signal.
 */
const CTRL_C = '\x03';

export class KeyPresses {
  private readonly isTerminal = process.stdin.isTTY === true;

  constructor(
    private readonly press: (key: string) => void,
    private readonly interrupt: () => void,
  ) {
    if (this.isTerminal) process.stdin.setRawMode(true);
    process.stdin.setEncoding('utf8');
    process.stdin.on('data', this.take);
    process.stdin.on('error', this.ignore);
  }

  close(): void {
    process.stdin.off('data', this.take);
    process.stdin.pause();
    if (this.isTerminal) process.stdin.setRawMode(false);
  }

  private readonly take = (text: string | Buffer): void => {
    for (const key of text.toString())
      if (key === CTRL_C) this.interrupt();
      else this.press(key);
  };

  /** An input that cannot be read has no keys. */
  private readonly ignore = (): void => undefined;
}
