/**
 * Entries of the systemd journal, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one
 * datagram each, its fields one after the other. A line on stderr is an entry, too, but of a
 * sentence and a priority alone; by this way who asked for what can be asked of `journalctl`.
 */
import { fstatSync } from 'node:fs';
import { type Line, PRIORITIES } from './levels.js';

export const JOURNAL_SOCKET = '/run/systemd/journal/socket';
/** Bytes of a value; the rest of a longer one is left out. A socket takes 212,992 by default. */
const VALUE_SIZE_MAX = 32_768;

/**
 * Whether a descriptor leads to the journal: systemd says by JOURNAL_STREAM, as device and inode,
 * which of a service's do (systemd.exec(5)). Who has redirected it since has another.
 */
export function isJournal(fd: number, stream = process.env.JOURNAL_STREAM): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false; // it is closed
  }
}

/** One entry as a datagram; a field of the line is FANTAIL_ and its name in capitals. */
export function entryOf({ level, message, fields }: Line): Buffer {
  const parts = [
    fieldOf('MESSAGE', message),
    fieldOf('PRIORITY', String(PRIORITIES[level])),
    fieldOf('SYSLOG_IDENTIFIER', 'fantail'),
  ];
  for (const [name, value] of Object.entries(fields)) {
    const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
    parts.push(fieldOf(`FANTAIL_${name.toUpperCase()}`, text));
  }
  return Buffer.concat(parts);
}

/** `NAME=value`, or for a value of several lines its name, its length (64 bits, little), itself. */
function fieldOf(name: string, text: string): Buffer {
  const value = Buffer.from(text).subarray(0, VALUE_SIZE_MAX);
  if (!value.includes('\n')) return Buffer.concat([Buffer.from(`${name}=`), value, NEWLINE]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${name}\n`), size, value, NEWLINE]);
}

const NEWLINE = Buffer.from('\n');
