/**
 * A machine that has what is in a folder and nothing else: processes, mounts, network, /run and
 * /sys of its own, all gone with it. What it writes goes beside the folder, which stays as it is.
 * To fetch packages its commands may use this machine's network, and never change that.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd, Program } from '../rig/program.js';
import { extraCertificates } from './debian.js';

/** A user without any rights, by number. */
const NOBODY = '65534';
const COMMAND_MS_MAX = 900_000;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Where it finds what the test gives it. */
export const GIVEN = '/mnt';

/**
 * Its first process: $1 the folder, $2 one for what is written, $3 what is given. bash as the last
 * one, since that waits for orphans.
 */
const BOOT = `set -e
mount --make-rprivate /
mkdir -p "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/shm
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
for each in null zero random urandom full tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mount --bind "$3" mnt
touch etc/resolv.conf
mount --bind "$(readlink -f /etc/resolv.conf)" etc/resolv.conf
ip link set lo up
echo ready
exec chroot . /bin/bash -c 'while :; do sleep 1000 & wait $!; done'`;

/** The one process that it has started: proc(5), /proc/PID/task/TID/children. */
const childOf = ({ pid }: Program): number =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  /** All that it said. */
  readonly told: string;
  readonly seconds: number;
}

export interface How {
  /** This machine's network, to fetch something; else its own. */
  readonly isOnline?: boolean;
  readonly isNobody?: boolean;
  readonly folder?: string;
}

export class BareMachine {
  readonly given: string;
  private readonly written: string;
  private readonly program: Program;
  private first = 0;
  readonly close: () => void;

  constructor(lower: string) {
    this.written = mkdtempSync(join(tmpdir(), 'bare-machine-'));
    this.given = join(this.written, 'given');
    mkdirSync(this.given);
    const certificates = extraCertificates();
    if (existsSync(certificates)) copyFileSync(certificates, join(this.given, 'certificates.pem'));
    const own = ['--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child'];
    const words = [...own, 'sh', '-c', BOOT, 'sh', lower, this.written, this.given];
    this.program = new Program('unshare', words);
    this.close = atEnd(() => {
      this.program.close();
      rmSync(this.written, { recursive: true, force: true });
    });
  }

  async boot(): Promise<void> {
    await this.program.line(/^ready$/m);
    this.first = childOf(this.program);
  }

  /** Runs a command to its end. */
  run(words: readonly string[], how: How = {}): Ran {
    const start = performance.now();
    const { status, stdout, stderr, error }: SpawnSyncReturns<string> = spawnSync(
      'nsenter',
      this.inside(words, how),
      { encoding: 'utf8', maxBuffer: 1 << 26, timeout: COMMAND_MS_MAX },
    );
    const seconds = (performance.now() - start) / 1000;
    return { status, stdout, told: `${error ?? ''}${stdout}${stderr}`, seconds };
  }

  sh(script: string, how: How = {}): Ran {
    return this.run(['sh', '-c', script], how);
  }

  start(words: readonly string[], how: How = {}): Program {
    return new Program('nsenter', this.inside(words, how), { group: true });
  }

  /** SIGTERM to what was started, which `nsenter` waits for; gives its status. */
  async stop(program: Program): Promise<number | null> {
    process.kill(childOf(program), 'SIGTERM');
    return (await program.wait()).status;
  }

  /**
   * All that could be left of something: each file with what it is, processes by name, what is in
   * /run and /sys/fs/bpf, interfaces. npm's own cache and logs are npm's.
   */
  state(): Set<string> {
    const apart = ['(', '-path', '/root/.npm', '-o', '-path', GIVEN, ')', '-prune', '-o'];
    const folders = ['-type', 'd', '-printf', '%p %m %U %G\\n', '-o'];
    return new Set([
      ...this.lines('find', '/', '-xdev', ...apart, ...folders, '-printf', '%p %m %U %G %s %l\\n'),
      ...this.lines('find', '/run', '/sys/fs/bpf', '/dev', '-xdev', '-printf', '%p %y\\n'),
      ...this.lines('ls', '/sys/class/net').map((name) => `interface ${name}`),
      ...this.lines('cat', ...this.names())
        .filter((name) => !/^(?:cat|sleep|bash)$/.test(name))
        .map((name) => `process ${name}`),
    ]);
  }

  private lines(...words: string[]): string[] {
    return this.run(words).stdout.split('\n').filter(Boolean);
  }

  /** Where the name of each of its processes is read (proc(5), comm). */
  private names(): string[] {
    const found = this.lines('ls', '/proc').filter((name) => /^\d+$/.test(name));
    return found.map((pid) => `/proc/${pid}/comm`);
  }

  private inside(words: readonly string[], { isOnline, isNobody, folder = '/' }: How): string[] {
    const certificates = existsSync(join(this.given, 'certificates.pem'))
      ? [`NODE_EXTRA_CA_CERTS=${GIVEN}/certificates.pem`]
      : [];
    const environment = [`PATH=${PATH}`, 'HOME=/root', 'LC_ALL=C.UTF-8', ...certificates];
    const user = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
    return [
      ...['-t', String(this.first), '--mount', '--pid', '--root', '--ipc', '--uts'],
      ...(isOnline === true ? [] : ['--net']),
      ...['env', '-i', ...environment, 'env', '-C', folder],
      ...(isNobody === true ? [...user, '--inh-caps=-all', '--bounding-set=-all'] : []),
      ...words,
    ];
  }
}
