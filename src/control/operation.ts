/**
 * What an operation of the control channel is: one row (operations.ts), from which the decoder,
 * `help`, the sentences that refuse, the server, the client's types and docs/reference.md derive.
 */
import * as z from 'zod';
import type { ToldChange } from '../domain/change.js';
import type { ControlSession } from '../domain/lease.js';
import type { Replicator } from '../domain/replicator.js';

/** One parameter of a request. */
export interface Parameter<Schema extends z.ZodType = z.ZodType> {
  /** Its `error` is the sentence for a wrong value. */
  readonly schema: Schema;
  readonly code: 'BAD_REQUEST' | 'BAD_ADDRESS';
  /** A typed word → its value; one that should be a number and is none is left for the schema. */
  fromWord(word: string): unknown;
  /** Why a value is TOO_LARGE, whatever else is wrong with the request; null: it is not. */
  tooLarge?(value: unknown): string | null;
}

export type Parameters = Readonly<Record<string, Parameter>>;

type Shape<P extends Parameters> = { [Name in keyof P]: P[Name]['schema'] };
/** Without the index signature that zod gives an object without keys. */
type Only<P extends Parameters, Whole> = {
  [Name in keyof Whole as Name extends keyof P ? Name : never]: Whole[Name];
};
/** What is performed: checked, and bytes are bytes. */
export type Values<P extends Parameters> = Only<P, z.output<z.ZodObject<Shape<P>>>>;
/** What a client writes: bytes may be text. */
export type Written<P extends Parameters> = Only<P, z.input<z.ZodObject<Shape<P>>>>;

/** Whom an operation calls: the replicator, or the session that it came by. */
export interface Called {
  readonly replicator: Replicator;
  readonly session: {
    /** What the peer may do from now on. Throws UNAUTHORIZED, later and later. */
    authorize(token: string): Promise<'read' | 'all'>;
    /**
     * Sends `stats` events, and those of gaps as they come, in the encoding of the request, until
     * the next call.
     */
    watch(seconds: number): void;
    unwatch(): void;
    /** The session itself, for what lasts as long. */
    readonly life: ControlSession;
    help(): string[];
    /** The last ones that were asked for, by whomever; at most so many, the oldest first. */
    changes(count: number): ToldChange[];
  };
}

interface Row<P extends Parameters, Answer extends object> {
  /** How it is typed; `help` and every usage sentence say so. */
  readonly typed: string;
  /** Its line of `help`. */
  readonly does: string;
  /**
   * In the order in which they are typed, and in which it is told that one is wrong. An unknown one
   * is refused, never ignored.
   */
  readonly takes: P;
  /** Where words are not simply the parameters in order; null: that is no way to type it. */
  fromWords?(words: readonly string[]): Record<string, unknown> | null;
  /** Parameters that come together or not at all; `perform` refuses what is half. */
  readonly allOrNone?: readonly (keyof P & string)[];
  /** Bytes of a message, where that is not MESSAGE_SIZE_MAX. */
  readonly messageSizeMax?: number;
  /** Whether it may be asked before the token was shown. */
  readonly beforeToken?: boolean;
  /** Whether it changes nothing that others see, so that a token which may only read is enough. */
  readonly reads?: boolean;
  /**
   * Whether several that wait may be under way at once: each is begun in its turn and answered in
   * its turn, so that one table is published for all of them.
   */
  readonly together?: boolean;
  /** The answer as objects carry it, beside `id` and `ok`. May throw a FantailError. */
  perform(called: Called, values: Values<P>): Answer | Promise<Answer>;
  /** The answer as it is typed: rows first, `ok …` last. */
  lines(answer: Answer, values: Values<P>): string[];
}

export interface Operation<P extends Parameters = Parameters, Answer extends object = object>
  extends Row<P, Answer> {
  readonly schema: z.ZodType<Values<P>>;
}

/** By name; `filter.load` is typed as two words. */
export type Operations = Readonly<Record<string, Operation>>;

export function operation<P extends Parameters, Answer extends object>(
  row: Row<P, Answer>,
): Operation<P, Answer> {
  const shape = Object.fromEntries(
    Object.entries(row.takes).map(([name, { schema }]) => [name, schema]),
  );
  // an entry for each name of P, and nothing else
  return { ...row, schema: z.strictObject(shape as Shape<P>) };
}
