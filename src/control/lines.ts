/**
 * Typed lines, both ways: a line that a person wrote → the request it stands for; rows and counters
 * → lines that a person reads.
 */
import type { ToldChange } from '../domain/change.js';
import type { SettingRow } from '../domain/configuration.js';
import { type Counts, counted, countsText, sumOf } from '../domain/counts.js';
import { FantailError } from '../domain/errors.js';
import type { GapEvent } from '../domain/replicator.js';
import type {
  FeedRow,
  FilterInfo,
  FilterRow,
  Latencies,
  Latency,
  LoadedRow,
  Stats,
  SubscriberRow,
} from '../domain/statistics.js';
import type { Operations, Parameters } from './operation.js';

// ---- requests -----------------------------------------------------------------------------------

/** `add 10.0.0.34 9001` → {op, ip, port}; nothing is checked but the number of words. */
export function parseLine(text: string, operations: Operations): Record<string, unknown> {
  const line = text.trim();
  if (line === '')
    throw new FantailError('BAD_REQUEST', 'an empty line; help tells what may be asked');
  if (/[\r\n]/.test(line)) throw new FantailError('BAD_REQUEST', 'one line a message, please');
  const words = line.split(/\s+/);
  const op = opOf(words, operations);
  const operation = Object.hasOwn(operations, op) ? operations[op] : undefined;
  if (operation === undefined) return { op };
  const values = words.slice(op.split('.').length);
  const { takes, typed, fromWords } = operation;
  const read = fromWords === undefined ? inOrder(takes, values) : fromWords(values);
  if (read === null) throw new FantailError('BAD_REQUEST', `usage: ${typed}`);
  return { op, ...read };
}

/** Words that name an operation, at most: `fleet filter use`. */
const OP_WORDS_MAX = 3;

/** As many words as name one: `filter use`, and any other word behind `filter`. */
function opOf(words: readonly string[], operations: Operations): string {
  const [first = '', second] = words;
  for (let count = Math.min(OP_WORDS_MAX, words.length); count > 0; count--) {
    const op = words.slice(0, count).join('.');
    if (Object.hasOwn(operations, op)) return op;
  }
  const isRoom = Object.keys(operations).some((op) => op.startsWith(`${first}.`));
  return isRoom && second !== undefined ? `${first}.${second}` : first;
}

/** Null: too few words, or too many. */
function inOrder(takes: Parameters, words: readonly string[]): Record<string, unknown> | null {
  const parameters = Object.entries(takes);
  if (words.length !== parameters.length) return null;
  return Object.fromEntries(
    parameters.map(([name, { fromWord }], index) => [name, fromWord(words[index] ?? '')]),
  );
}

// ---- answers and events -------------------------------------------------------------------------

export function settingLine({ key, value, from, waiting }: SettingRow): string {
  const waits = waiting === undefined ? '' : ` waiting ${waiting ?? 'not set'}`;
  return `${key} ${value ?? '-'} from ${from}${waits}`;
}

export function subscriberLine(row: SubscriberRow): string {
  const expiry = row.expires_s === null ? '' : ` expires ${row.expires_s}`;
  const feeds = row.feeds.join(',') || '-';
  return `${row.ip} ${row.port} ${row.state} ${row.mac ?? '-'} worker ${row.worker} filter ${row.filter}${expiry} feeds ${feeds}`;
}

/**
 * `2026-11-27T21:33:00.000Z 127.0.0.1:40312 ok add 10.0.0.34 9001`; of what was asked again there
 * is ` (5 times, last 2026-11-27T21:35:00.000Z)` behind it.
 */
export function changeLine({ at_ms, who, answer, what, times, last_ms }: ToldChange): string {
  const timeOf = (ms: number) => new Date(ms).toISOString();
  const again =
    last_ms === undefined ? '' : ` (${counted(times ?? 1, 'time')}, last ${timeOf(last_ms)})`;
  return `${timeOf(at_ms)} ${who} ${answer} ${what}${again}`;
}

/** What `stats queues` adds. */
export function queueLines(driver: Stats['driver']): string[] {
  if (driver === undefined) return [];
  if (driver === null) return ['driver none'];
  const { name, version, queues, device } = driver;
  return [
    ...queues.map(({ queue, worker, xdp, sockets, sent, kicks, driver: its }) => {
      const ours = countsText({ ...xdp, ...sockets, sent, kicks });
      return `queue ${queue} worker ${worker ?? '-'} ours ${ours || '-'} driver ${countsText(its) || '-'}`;
    }),
    `driver ${name || '-'} ${version || '-'} ${countsText(device) || '-'}`,
  ];
}

export function filterLine(row: FilterRow): string {
  const users = `subscribers ${row.subscribers}${row.default ? ' default' : ''}`;
  const rollback = row.rollback === null ? '' : ` rolled back: ${row.rollback.reason}`;
  return `${row.name} ${row.status} sha256 ${row.hash.slice(0, 12)} size ${row.size} abi ${row.abi} ${users}${rollback}`;
}

export function filterLines({ cost_ns, calls, jobs, verdicts, faults }: FilterInfo): string[] {
  return [
    `cost_ns ${cost_ns ?? '-'} calls ${calls} jobs ${jobs}`,
    `verdicts send ${verdicts.send} drop ${verdicts.drop}`,
    `faults trap ${faults.trap} bad_answer ${faults.bad_answer} too_big ${faults.too_big}`,
  ];
}

export function feedLine(feed: FeedRow): string {
  const { name, ip, port, source, received, bytes, subscribers } = feed;
  const from = source === null ? '' : ` from ${source}`;
  const left = feed.joined === false ? ' not a member of its group' : '';
  const line = `feed ${ip} ${port} received ${received} bytes ${bytes} name ${name}${from} subscribers ${subscribers}${left}`;
  const { slow_path, socket_lost } = feed;
  return withCounts(line, { ...feed.drops, slow_path, socket_lost });
}

function withCounts(line: string, counts: Counts): string {
  return `${line} ${countsText(counts)}`.trimEnd();
}

const latencyText = ({ p50, p99, p999 }: Latency) => `${p50} ${p99} ${p999}`;

function latenciesText({ inside_ns, kick_ns, window_ns }: Latencies): string {
  const [inside, kick, window] = [inside_ns, kick_ns, window_ns].map(latencyText);
  return `inside_ns ${inside} kick_ns ${kick} window_ns ${window}`;
}

export function statsLines(stats: Stats): string[] {
  const queues = stats.queues.join(',') || '-';
  return [
    `replicator ${stats.interface} queues ${queues} mode ${stats.mode} layout ${stats.layout} uptime_ms ${stats.uptime_ms}`,
    ...stats.fallbacks.map(({ mode, reason }) => `fallback ${mode}: ${reason}`),
    ...stats.feeds.map(feedLine),
    ...(Object.keys(stats.xdp).length > 0 ? [withCounts('xdp', stats.xdp)] : []),
    ...stats.kernel.map(({ queue, ...counts }) => withCounts(`kernel queue ${queue}`, counts)),
    ...stats.workers.map((row) => {
      const { worker, pid, restarts } = row;
      const latencies = `${latenciesText(row)} recent ${latenciesText(row.recent)}`;
      return `worker ${worker} pid ${pid} restarts ${restarts} ${latencies}`;
    }),
    ...stats.subscribers.map((row) => {
      const counted = `received ${row.received} sent ${row.sent} in_flight ${row.in_flight} bytes ${row.bytes}`;
      return withCounts(`subscriber ${row.ip} ${row.port} ${counted}`, row.drops);
    }),
    ...stats.filters.loaded.flatMap(reportLines),
  ];
}

const receivedOf = ({ feeds }: Stats) => feeds.reduce((sum, { received }) => sum + received, 0);

/** Sum over all feeds and subscribers, for one line a second in wscat. */
export function eventLine(stats: Stats): string {
  let sent = 0;
  let inFlight = 0;
  let dropped = 0;
  for (const row of stats.subscribers) {
    sent += row.sent;
    inFlight += row.in_flight;
    dropped += sumOf(row.drops);
  }
  const all = `subscribers ${stats.subscribers.length} sent ${sent} in_flight ${inFlight} dropped ${dropped}`;
  return `stats uptime_ms ${stats.uptime_ms} received ${receivedOf(stats)} ${all}`;
}

/** Of a filter that reports: what it has missed in all, then by set and by line. */
function reportLines({ name, report }: LoadedRow): string[] {
  if (report === undefined) return [];
  const { gaps, missing, too_short, no_room } = report;
  return [
    `filter ${name} gaps ${gaps} missing ${missing} too_short ${too_short} no_room ${no_room}`,
    ...report.sets.flatMap((set) => {
      const whose = `${name} worker ${set.worker} feeds ${feedsText(set.feeds)}`;
      const param = set.param === '' ? '' : ` param ${set.param}`;
      return [
        `set ${whose} subscribers ${set.subscribers} gaps ${set.gaps} missing ${set.missing}${param}`,
        ...set.lines.map(({ feed, ip, port, won, late, lead_ns: lead }) => {
          const line = `feed ${feed ?? '-'} ${ip} ${port} won ${won} late ${late}`;
          return `line ${whose} ${line} leads ${lead.count} lead_ns ${lead.mean} ${lead.max}`;
        }),
      ];
    }),
  ];
}

const feedsText = (feeds: readonly string[]) => (feeds.length === 0 ? '-' : feeds.join(','));

/** `gap main,b 17..19`. */
export function gapLine({ feeds, from, to, suppressed = 0 }: GapEvent): string {
  const more = suppressed === 0 ? '' : ` suppressed ${suppressed}`;
  return `gap ${feedsText(feeds)} ${from}..${to}${more}`;
}
