/** A loaded filter, where it stands in every worker, and who has it. */

/** Bytes of a filter's module, in a file as in a control message. */
export const MODULE_SIZE_MAX = 1 << 20;

/** The filter that every replicator has, and that needs no module. */
export const BUILT_IN = 'rewrite';

/** A module and its place in every worker. */
export interface Placed {
  /** Of FILTERS_MAX. */
  readonly slot: number;
  /** Unique to each load: another module in the slot counts from zero. */
  readonly module: number;
  /** Its block of state, or null if it keeps none. */
  readonly block: number | null;
  /** Whose state is in the block: another owner's starts from zeros. */
  readonly owner: number;
}

export interface Facts {
  readonly abi: number;
  /** What fantail_state() answers; 0: the module keeps none. */
  readonly state: number;
  /** What fantail_report() answers: where its report is in its state; null: it reports nothing. */
  readonly report: number | null;
  /** SHA-256 of its bytes, hexadecimal. */
  readonly hash: string;
}

export interface FilterModule extends Placed, Facts {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface Assignment {
  readonly module: FilterModule;
  /** At most PARAM_SIZE bytes. */
  readonly param: Uint8Array;
  /** What the holder had until then. */
  readonly before: { readonly module: FilterModule; readonly param: Uint8Array } | null;
}

/** Whoever has a filter. */
export interface Holder {
  filter: Assignment;
}

export interface Rollback {
  readonly name: string;
  readonly hash: string;
  readonly reason: string;
  readonly at_ms: number;
}

/**
 * The bytes of a parameter as a person writes it, text or `hex:4d4f`; null: no hex after `hex:`.
 */
export function paramOf(text: string): Uint8Array | null {
  if (!text.startsWith('hex:')) return new Uint8Array(Buffer.from(text));
  const digits = text.slice('hex:'.length);
  return /^([0-9a-fA-F]{2})*$/.test(digits) ? new Uint8Array(Buffer.from(digits, 'hex')) : null;
}

/** The same for people: as text if it is printable ASCII. */
export function paramText(param: Uint8Array): string {
  const bytes = Buffer.from(param);
  const text = bytes.toString('latin1');
  const isText = /^[ -~]*$/.test(text) && !text.startsWith('hex:');
  return isText ? text : `hex:${bytes.toString('hex')}`;
}
