/**
 * Asks the peers whether they reach etcd: GET /fleetz on the control port of each, by headers that
 * say which member of which group is meant.
 *
 * What is believed: a head of HTTP that comes in time, is of fantail, and has one of the two
 * statuses by which a member of that group and name answers; whoever is another member, of another
 * group or of none says 404, but for 0.1.0, which knows no such headers and answers for itself, and
 * of no group as one that does not reach etcd. Nothing else of an answer is read. Nobody proves who
 * he is, also by https: whoever can send in the name of every peer at once can have a member serve
 * beyond its lease, as if etcd were gone (docs/fleet.md says so).
 */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { PEER_HEADERS } from '../../domain/fleet.js';
import type { Evidence } from './fence.js';
import type { Peer } from './inheritance.js';

/** From the asking to the end of the head: they are asked every second. */
export const ANSWER_MS_MAX = 800;
/** Bytes of a head: ours has some 150. */
const HEAD_SIZE_MAX = 4096;
/** Connections at a time would be as many as members; more are not asked, and count as silent. */
const PEERS_MAX = 256;

export interface Peers {
  readonly group: string;
  readonly members: readonly Peer[];
  /** How long each is waited for; left out: ANSWER_MS_MAX. */
  readonly answer_ms_max?: number;
}

/** 200: it reaches etcd; 503: it does not; whatever else, and nothing, is no answer. */
export async function askPeers(peers: Peers): Promise<Evidence> {
  const { group, members, answer_ms_max = ANSWER_MS_MAX } = peers;
  const asked_ns = process.hrtime.bigint();
  const some = members.slice(0, PEERS_MAX);
  const asked = some.map((peer) => statusOf(group, peer, answer_ms_max));
  const answers = await Promise.all(asked);
  return {
    asked_ns,
    peers: members.length,
    answering: answers.filter((status) => status === 200 || status === 503).length,
    reaching: answers.filter((status) => status === 200).length,
  };
}

function statusOf(
  group: string,
  { member, control }: Peer,
  answer_ms_max: number,
): Promise<number | null> {
  return new Promise((resolve) => {
    const isTls = control.startsWith('https:');
    if (!URL.canParse('/fleetz', control) || !/^https?:/.test(control)) return resolve(null);
    const url = new URL('/fleetz', control);
    const asked = (isTls ? httpsRequest : httpRequest)(url, {
      agent: false,
      headers: { [PEER_HEADERS.group]: group, [PEER_HEADERS.member]: member },
      maxHeaderSize: HEAD_SIZE_MAX,
      ...(isTls ? { rejectUnauthorized: false } : {}),
    });
    const end = (status: number | null) => {
      clearTimeout(timer);
      resolve(status);
      asked.destroy(); // whatever comes behind the head is read by nobody
    };
    const timer = setTimeout(() => end(null), answer_ms_max);
    asked.once('response', ({ headers, statusCode = null }) => {
      end(headers.server === 'fantail' ? statusCode : null);
    });
    asked.on('error', () => end(null)); // also of its destruction
    asked.end();
  });
}
