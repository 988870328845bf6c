/**
 * What a supervisor leaves to the next one: descriptors, and a text about them. fantail-rx keeps it
 * (native/rx/keeper.hpp) and hands it to the first that asks when the supervisor is gone, on an
 * abstract Unix socket that is named after what the data plane serves. Binding that name is the
 * election: who has it opens a data plane, whoever comes later is told who serves, or adopts.
 *
 *     free ── bind ──▶ ours            served by a living one ── its process id is told
 *     kept by fantail-rx ── taken over, and that connection is the new supervisor's
 *
 * Only a process of our own user is believed, and fantail-rx believes only such a one.
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../domain/errors.js';
import { addon, type Message } from '../memory/addon.js';
import { contentOf } from '../memory/memory-file.js';

/** Of one message; the kernel takes 253 (SCM_MAX_FD). */
const PART_FDS_MAX = 200;
/** fantail-rx answers from a thread that does nothing else, on a machine that may be busy. */
const ANSWER_MS_MAX = 10_000;
const POLL_MS = 5;
/** Between two attempts at a name whose holder is just ending. */
const AGAIN_MS = 20;
const AGAIN_MS_MAX = 3000;

/** What is left: `about` is JSON of the supervisor's own, the descriptors are in its order. */
export interface Inheritance {
  readonly about: unknown;
  readonly fds: readonly number[];
}

/** An inheritance that was taken over; the descriptors are ours to close. */
export interface Adopted extends Inheritance {
  /** The connection by which fantail-rx knows that we live. */
  readonly socket: number;
  /** fantail-rx. */
  readonly pid: number;
}

/** A name of our own: a listening socket, for fantail-rx and its successors to answer on. */
export interface Claimed {
  readonly listener: number;
}

type Answer =
  | { readonly event: 'served'; readonly pid: number }
  | { readonly event: 'kept'; readonly pid: number; readonly parts: number };

/**
 * A part of the descriptors, as it is sent and comes back; the first of all is a file: the text.
 */
interface Part {
  readonly keep: { readonly index: number; readonly count: number };
}

/** Gives fantail-rx, at the other end of that socket, all of it to keep. */
export function leave(socket: number, { about, fds }: Inheritance): void {
  const text = addon.memoryFile(Buffer.from(JSON.stringify(about)));
  try {
    const all = [text, ...fds];
    const count = Math.ceil(all.length / PART_FDS_MAX);
    for (let index = 0; index < count; index++) {
      const part: Part = { keep: { index, count } };
      const some = all.slice(index * PART_FDS_MAX, (index + 1) * PART_FDS_MAX);
      addon.sendMessage(socket, JSON.stringify(part), some);
    }
  } finally {
    closeSync(text);
  }
}

/**
 * Takes the name, or over what fantail-rx has kept under it. Throws Failure where a supervisor
 * lives under that name. `what`: what it stands for, in words.
 */
export async function claim(
  netns: string | null,
  name: string,
  what: string,
): Promise<Claimed | Adopted> {
  const deadline = performance.now() + AGAIN_MS_MAX;
  for (;;) {
    const socket = addon.openAbstract(netns);
    try {
      if (addon.bindAbstract(socket, name)) return { listener: socket };
    } catch (error) {
      closeSync(socket);
      throw error;
    }
    closeSync(socket);
    const adopted = await ask(netns, name, what);
    if (adopted !== null) return adopted;
    if (performance.now() > deadline)
      throw new Failure(
        `something holds @${name} and does not answer; see: fantail clean, or ss -xlp`,
      );
    await sleep(AGAIN_MS);
  }
}

/** Null: whoever had the name is gone. */
async function ask(netns: string | null, name: string, what: string): Promise<Adopted | null> {
  const socket = addon.openAbstract(netns);
  const fds: number[] = [];
  let isTaken = false;
  try {
    if (!addon.connectAbstract(socket, name)) return null;
    if (addon.peerUid(socket) !== process.geteuid?.())
      throw new Failure(`@${name} is held by a process of another user; end that one first`);
    const first = await messageFrom(socket);
    if (first === null) return null;
    const answer = JSON.parse(first.text) as Answer; // fantail-rx's, or an impostor's of our user
    if (answer.event === 'served')
      throw new Failure(
        `fantail up (pid ${answer.pid}) serves ${what} already; stop it, or choose another`,
      );
    for (let index = 0; index < answer.parts; index++) {
      const message = await messageFrom(socket);
      if (message === null) return null;
      fds.push(...message.fds);
    }
    if (answer.parts === 0)
      throw new Failure(
        `fantail-rx (pid ${answer.pid}) lost its supervisor while it was starting; ` +
          'remove it with: fantail clean',
      );
    const [text = -1, ...rest] = fds;
    const about: unknown = JSON.parse(Buffer.from(contentOf(text)).toString());
    closeSync(text);
    isTaken = true;
    return { about, fds: rest, socket, pid: answer.pid };
  } finally {
    if (!isTaken) for (const fd of [...fds, socket]) closeSync(fd);
  }
}

/** The next message; null if the other end is gone. */
async function messageFrom(socket: number): Promise<Message | null> {
  for (let waited_ms = 0; waited_ms < ANSWER_MS_MAX; waited_ms += POLL_MS) {
    const message = addon.receiveMessage(socket);
    if (message === 'closed') return null;
    if (message !== null) return message;
    await sleep(POLL_MS);
  }
  throw new Failure('fantail-rx does not answer; remove it with: fantail clean');
}
