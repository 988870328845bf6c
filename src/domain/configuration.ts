/** What a replicator was told to be, and what a reload has made of it, in words. */

/** Where something stands in a configuration file; lines and columns from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Who has said so. */
export type Origin = 'default' | 'command line' | Place;

/** One setting as it is in force. Those that repeat have a row for each value. */
export interface SettingRow {
  /** As the file has it: `multicast-ttl`. */
  readonly key: string;
  /** As one writes it; null: it is not set. */
  readonly value: string | null;
  /** `default`, `command line`, or `FILE:LINE`. */
  readonly from: string;
  /** What the file says by now, where that waits for a restart; left out elsewhere. */
  readonly waiting?: string | null;
}

export interface ConfigurationAnswer {
  /** Null: started without --config. */
  readonly file: string | null;
  readonly settings: readonly SettingRow[];
}

/** What a reload has found different. */
export interface ChangeRow {
  readonly key: string;
  /** Null: it was not set. */
  readonly before: string | null;
  readonly after: string | null;
}

export interface ReloadAnswer {
  readonly file: string;
  readonly applied: readonly ChangeRow[];
  /** With the reason of each; they stay as they were. */
  readonly refused: readonly (ChangeRow & { readonly reason: string })[];
}

export const placeText = ({ file, line, column }: Place): string => `${file}:${line}:${column}`;

export function originText(origin: Origin): string {
  return typeof origin === 'string' ? origin : `${origin.file}:${origin.line}`;
}

/** `mode: auto → copy`. */
export function changeText({ key, before, after }: ChangeRow): string {
  return `${key}: ${before ?? 'not set'} → ${after ?? 'not set'}`;
}
