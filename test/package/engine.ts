/**
 * The image and its containers, by podman: images in a folder of the test's own, the base made of
 * Debian's packages, since a registry of images may not be within reach. Containers are run by the
 * line of docs/containers.md, whose words podman and docker have in common.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd, lackForProgram, ROOT, run } from '../rig/program.js';
import { debian, extraCertificates, lackForDebian, SUITE } from './debian.js';
import { packInto } from './tarball.js';

const BUILD_MS_MAX = 1_800_000;
const BASE = `localhost/debian:${SUITE}`;
export const IMAGE = 'localhost/fantail';
/** A folder that keeps images from one run to the next, for who works on these tests. */
const KEPT = process.env.FANTAIL_TEST_IMAGES;
/** Of the package golang-github-containers-common. */
const PROFILE = '/usr/share/containers/seccomp.json';

/** Why no image can be made here, or null. */
export function lackForImages(): string | null {
  const isThere = () => existsSync('/usr/bin/podman') && existsSync('/usr/bin/crun');
  return lackForProgram('podman', isThere, 'podman', 'crun') ?? lackForDebian();
}

/** Of the line: its limits may not be raised here, and each container goes when it ends. */
const NOT_HERE = /^--(?:detach|name|restart|ulimit|volume)\b/;
/** Of a machine with control groups of both versions crun takes none: it sees the second alone. */
const ENTER = 'mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"';

/** What podman sets its own limit of processes to, and crun may not go beyond it. */
const PROCESSES_MAX = 32_768;

/** As high as they are here: by itself podman 4 asks for a million of each, also with `host`. */
function limits(): string[] {
  const told = readFileSync('/proc/self/limits', 'utf8');
  const hard = (name: string) => Number(new RegExp(`^${name} +\\d+ +(\\d+)`, 'm').exec(told)?.[1]);
  const [files, processes] = [hard('Max open files'), hard('Max processes')];
  const most = Math.min(Number.isNaN(processes) ? PROCESSES_MAX : processes, PROCESSES_MAX);
  return [`--ulimit=nofile=${files}:${files}`, `--ulimit=nproc=${most}:${most}`];
}

export class Engine {
  readonly folder = KEPT ?? mkdtempSync(join(tmpdir(), 'engine-'));
  private readonly options: readonly string[];
  readonly close: () => void;

  constructor() {
    const place = (name: string) => join(this.folder, name);
    this.options = [
      ...['--root', place('images'), '--runroot', place('run'), '--tmpdir', place('tmp')],
      ...['--storage-driver', 'overlay', '--cgroup-manager', 'cgroupfs'],
      ...['--events-backend', 'none', '--runtime', '/usr/bin/crun'],
    ];
    this.close = atEnd(() => {
      const [program = '', ...words] = this.words('rm', '--all', '--force', '--time', '0');
      spawnSync(program, words);
      spawnSync('umount', [place('images/overlay')], { stdio: 'ignore' });
      if (KEPT === undefined) rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** The whole command line of a podman that has these images. */
  words(...words: string[]): string[] {
    return ['unshare', '--mount', 'sh', '-c', ENTER, 'sh', 'podman', ...this.options, ...words];
  }

  podman(...words: string[]): string {
    const [program = '', ...rest] = this.words(...words);
    return run(program, rest, '', BUILD_MS_MAX);
  }

  /**
   * Its profile of system calls, where bpf() is a matter of CAP_BPF, as in Docker since 23.0 and in
   * podman's successors: Debian 12's podman asks for CAP_SYS_ADMIN.
   */
  profile(): string {
    const file = join(this.folder, 'seccomp.json');
    // its own format: rules with the names that they are for
    const profile = JSON.parse(readFileSync(PROFILE, 'utf8')) as {
      syscalls: { names: string[]; action: string; includes?: object }[];
    };
    for (const rule of profile.syscalls) rule.names = rule.names.filter((name) => name !== 'bpf');
    const includes = { caps: ['CAP_BPF'] };
    profile.syscalls.push({ names: ['bpf'], action: 'SCMP_ACT_ALLOW', includes });
    writeFileSync(file, JSON.stringify(profile));
    return file;
  }

  /** Builds it by the Dockerfile, of the package as it is. */
  build(): void {
    if (!this.podman('images', '--format', '{{.Repository}}:{{.Tag}}').includes(BASE)) {
      const base = join(this.folder, 'base.tar');
      run('tar', ['-C', debian('base'), '-cf', base, '.'], '', BUILD_MS_MAX);
      this.podman('import', '--quiet', base, BASE);
      rmSync(base);
    }
    const context = join(this.folder, 'context');
    rmSync(context, { recursive: true, force: true });
    mkdirSync(context);
    packInto(context);
    this.podman(
      ...['build', '--quiet', '--isolation', 'chroot', '--network', 'host', '--format', 'docker'],
      ...['--build-arg', `BASE=${BASE}`, ...this.certificates(), '--tag', IMAGE],
      ...['--file', join(ROOT, 'tools', 'container', 'Dockerfile'), context],
    );
  }

  /** Nothing of them is in the image. */
  private certificates(): string[] {
    const file = extraCertificates();
    if (!existsSync(file)) return [];
    const settings = join(this.folder, 'npmrc');
    writeFileSync(settings, `cafile=/certificates.pem\n`);
    const mounts = [`${file}:/certificates.pem:ro`, `${settings}:/root/.npmrc:ro`];
    return mounts.flatMap((mount) => ['--volume', mount]);
  }

  /** The flags of `docker run` as docs/containers.md has them; `less` without one right. */
  flags(less = ''): string[] {
    const page = readFileSync(join(ROOT, 'docs', 'containers.md'), 'utf8');
    const [, line = ''] = /^docker run ([\s\S]*?[^\\])$/m.exec(page) ?? [];
    const words = line.split(/[\s\\]+/).slice(0, -1); // the last one is the image
    const flags = words.filter((word) => !NOT_HERE.test(word) && word !== `--cap-add=${less}`);
    // who looks after its health here is systemd, which need not be there
    const here = ['--rm', ...limits(), '--cgroups=disabled', '--no-healthcheck'];
    return [...here, `--security-opt=seccomp=${this.profile()}`, ...flags];
  }
}
