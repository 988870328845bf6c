/**
 * The three ways to fail that a user can meet; anything else that is thrown is a programmer error.
 *
 *   FantailError  a request was refused; its code, of a closed set, goes over the control channel
 *   UsageError    the command line is wrong; main.ts prints the sentence and exits 2
 *   Failure       a command could not do its work; main.ts prints the sentence and exits 1
 *
 * Each message is one sentence without a full stop that says what is wrong and what to do.
 */

export const codes = [
  'BAD_REQUEST',
  'UNKNOWN_OP',
  'BAD_ADDRESS',
  'NOT_ALLOWED',
  'TABLE_FULL',
  'UNAUTHORIZED',
  'RATE_LIMITED',
  'TOO_LARGE',
  'BUSY',
  'NOT_FOUND',
  'FILTER_REJECTED',
  'INTERNAL',
] as const;

export type Code = (typeof codes)[number];

/** A refused request. */
export class FantailError extends Error {
  readonly code: Code;

  constructor(code: Code, message: string) {
    super(message);
    this.name = 'FantailError';
    this.code = code;
  }
}

/** BUSY for who waits, and done all the same: a worker is slow to follow. */
export class AppliedLater extends FantailError {
  constructor() {
    super('BUSY', 'a worker is slow to follow; the change is applied as soon as it does');
    this.name = 'AppliedLater';
  }
}

/** The command line, or the file that it names, is wrong: exit status 2. */
export class UsageError extends Error {
  /** `see`: the command that tells more; null: the help of the one that was called. */
  constructor(
    message: string,
    readonly see: string | null = null,
  ) {
    super(message);
    this.name = 'UsageError';
  }
}

/**
 * A command could not do its work: exit status 1. `systemCode` is the errno name where the system
 * refused.
 */
export class Failure extends Error {
  readonly systemCode: string | null;

  constructor(message: string, systemCode: string | null = null) {
    super(message);
    this.name = 'Failure';
    this.systemCode = systemCode;
  }
}

/** What is given as the control port is no address: a program's option is wrong, or a flag. */
export class AddressFailure extends Failure {
  constructor(readonly what: string) {
    super(`control ${what}`);
  }
}

/** End of a `switch` over a union: a new member fails to compile here. */
export function never(value: never): never {
  throw new Error(`unexpected value: ${JSON.stringify(value)}`);
}

/** The sentence of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
