/** Asks the peers whether they reach etcd: GET /fleetz on the control port of each. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Evidence } from './fence.js';

const ANSWER_MS_MAX = 800;
/** Connections at a time would be as many as members; more are not asked, and count as silent. */
const PEERS_MAX = 256;

/** 200: it reaches etcd; 503: it does not; whatever else, and nothing, is no answer. */
export async function askPeers(controls: readonly string[]): Promise<Evidence> {
  const asked_ns = process.hrtime.bigint();
  const answers = await Promise.all(controls.slice(0, PEERS_MAX).map(statusOf));
  return {
    asked_ns,
    peers: controls.length,
    answering: answers.filter((status) => status === 200 || status === 503).length,
    reaching: answers.filter((status) => status === 200).length,
  };
}

function statusOf(control: string): Promise<number | null> {
  return new Promise((resolve) => {
    const isTls = control.startsWith('https:');
    if (!URL.canParse('/fleetz', control) || !/^https?:/.test(control)) return resolve(null);
    const url = new URL('/fleetz', control);
    // Whose certificate it is does not matter: nothing is told to it, and who could forge its
    // answer could as well drop it.
    const asked = (isTls ? httpsRequest : httpRequest)(url, {
      agent: false,
      ...(isTls ? { rejectUnauthorized: false } : {}),
    });
    const timer = setTimeout(() => asked.destroy(new Error('late')), ANSWER_MS_MAX);
    asked.once('response', (response) => {
      clearTimeout(timer);
      response.resume();
      const isFantail = response.headers.server === 'fantail';
      resolve(isFantail ? (response.statusCode ?? null) : null);
    });
    asked.once('error', () => {
      clearTimeout(timer);
      resolve(null);
    });
    asked.end();
  });
}
