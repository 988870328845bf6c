/**
 * Lines of the pages' blocks that no test types, and why. Every other line of a `sh` block is typed
 * by typed.test.ts, or readme.test.ts fails; these are held against what the commands take, as all.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../rig/program.js';
import { words } from './commands.js';

/** Of this release. */
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string; // npm's own file
};

const REASONS: readonly { readonly why: string; readonly lines: readonly string[] }[] = [
  {
    why: 'they make what the tests run: the first two are how `npm test` begins, the third is it',
    lines: ['npm run setup', 'npm run build', 'npm test'],
  },
  {
    why: 'they put something into the machine’s own Node; test/package does it on a bare one',
    lines: [
      'npm link',
      `npm install -g fantail-${version}.tgz`,
      'npm install -g fantail-0.2.0.tgz',
    ],
  },
  {
    why: 'they take an engine and a registry of images; test/package builds and runs that image',
    lines: [
      'mkdir -p build/image && npm pack --pack-destination build/image',
      'docker build -t fantail -f tools/container/Dockerfile build/image',
      `docker run --detach --name=fantail --restart=unless-stopped --network=host
        --cap-drop=ALL --cap-add=NET_ADMIN --cap-add=NET_RAW --cap-add=BPF --cap-add=IPC_LOCK
        --cap-add=SETUID --cap-add=SETGID --cap-add=KILL
        --security-opt=no-new-privileges --read-only --tmpfs=/tmp
        --ulimit=memlock=-1 --ulimit=nofile=65536
        --volume=/etc/fantail:/etc/fantail:ro fantail`,
    ],
  },
  {
    why: 'the unit runs under the machine’s systemd; test/service runs it under one of its own',
    lines: [
      'systemctl daemon-reload',
      'systemctl enable --now fantail@eth1',
      'systemctl reload fantail@eth1',
      'systemctl restart fantail@eth1',
    ],
  },
  {
    why: 'they ask the machine’s journal; test/terminal/log.test.ts asks one of its own',
    lines: [
      'journalctl -u fantail@eth1 -p warning',
      'journalctl -u fantail@eth1 FANTAIL_OP=add FANTAIL_CODE=NOT_ALLOWED',
    ],
  },
  {
    why: 'they publish a release; test/package/release.test.ts does it on a clone of its own',
    lines: ['npm version patch', 'git push --follow-tags', 'npm pack'],
  },
  {
    why: 'it is of half an hour; test/bench runs it on small inputs',
    lines: ['npm run bench'],
  },
  {
    why: 'it needs a whole screen, keys and half a minute; test/demo/fleet.test.ts has those',
    lines: ['npm run demo:fleet'],
  },
  {
    why: 'it waits for a person; typed.test.ts sends what the page shows of one, in place of it',
    lines: ['npx wscat -c ws://127.0.0.1:12345'],
  },
  {
    why: 'there is no other machine with an ssh server, nor one of this project’s',
    lines: ['ssh -L 12345:127.0.0.1:12345 root@10.0.0.5'],
  },
];

/** A line as this list has it: its words, without the comment. */
export const keyOf = (line: string) => words(line).join(' ');

/** Why, by the line. */
export const untyped: ReadonlyMap<string, string> = new Map(
  REASONS.flatMap(({ why, lines }) => lines.map((line) => [keyOf(line), why] as const)),
);

export const isUntyped = (line: string): boolean => untyped.has(keyOf(line));
