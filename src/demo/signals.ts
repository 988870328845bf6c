/** The wish to end a demo, as signals bring it. */

const NAMES = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Resolves at the first signal; later ones are part of the same wish (npm and the terminal both
 * send them).
 */
export class Signals {
  readonly signalled: Promise<void>;
  /** The same wish, by another way. */
  interrupt: () => void = () => undefined;

  constructor() {
    this.signalled = new Promise((resolve) => {
      this.interrupt = resolve;
    });
    for (const name of NAMES) process.on(name, this.interrupt);
  }

  close(): void {
    for (const name of NAMES) process.off(name, this.interrupt);
  }
}
