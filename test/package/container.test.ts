/**
 * Goal: what makes and runs an image is right: the Dockerfile has what fantail needs and no more,
 * its rights are those that the code asks for, and the manifest is what Kubernetes takes. Method:
 * each is read by a parser of its own and compared with what it repeats. That the image works is
 * shown by `npm run test:package`.
 *
 * needs: a core
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DockerfileParser, type Instruction } from 'dockerfile-ast';
import { validate } from 'dockerfile-utils';
import { DaemonSet } from 'kubernetes-models/apps/v1';
import { ConfigMap, Namespace } from 'kubernetes-models/v1';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAllDocuments, parseDocument } from 'yaml';
import { checkRights } from '../../src/replicator/plan/allowance.js';
import type { Observed } from '../../src/replicator/plan/deployment.js';
import { MAIN, Program, ROOT } from '../rig/program.js';

const test = suite('container');
const folder = mkdtempSync(join(tmpdir(), 'container-'));
test.after(() => rmSync(folder, { recursive: true }));
const read = (...path: string[]) => readFileSync(join(ROOT, ...path), 'utf8');
const DOCKERFILE = read('tools', 'container', 'Dockerfile');
const MANIFEST = read('tools', 'container', 'kubernetes.yaml');
const PAGE = read('docs', 'containers.md');

/** What a process needs besides to become another user, and to end one that has. */
const OF_USERS = ['KILL', 'SETGID', 'SETUID'];
/** Of Debian 13, the packages of libraries; of libgcc_s.so.1 and libc.so.6 no image is without. */
const PACKAGES: Readonly<Record<string, string>> = {
  'libbpf.so.1': 'libbpf1',
  'libcap-ng.so.0': 'libcap-ng0',
  'libmnl.so.0': 'libmnl0',
  'libseccomp.so.2': 'libseccomp2',
  'libstdc++.so.6': 'libstdc++6',
};
const ALWAYS = /^(?:libgcc_s\.so\.1|libc\.so\.6|libm\.so\.6|ld-linux-.*)$/;

const instructions = () => DockerfileParser.parse(DOCKERFILE).getInstructions();
const named = (keyword: string): Instruction[] =>
  instructions().filter((each) => each.getKeyword() === keyword);

/** Packages that a stage installs whatever its base has; the stages are told apart by `FROM`. */
function installedBy(stage: number): string[] {
  const all = instructions();
  const starts = all.flatMap((each, at) => (each.getKeyword() === 'FROM' ? [at] : []));
  const own = all.slice(starts[stage], starts[stage + 1]);
  const texts = own.map((each) => each.getArgumentsContent() ?? '').join(' && ');
  const [, list = ''] =
    /&& apt-get install [^&]*--no-install-recommends([^&{]*)&&/.exec(texts) ?? [];
  return list
    .split(/[\s\\]+/)
    .filter(Boolean)
    .sort();
}

/** As the code asks for it, without `CAP_`. */
function rightsNeeded(): string[] {
  const none = { capabilities: [], link: null, memlock: { soft: 0, hard: 0 }, canRaise: false };
  const finding = checkRights({ mode: 'copy' }, none as unknown as Observed); // what it looks at
  const names = [...(finding?.what ?? '').matchAll(/CAP_(\w+)/g)].map(([, name = '']) => name);
  assert.ok(names.length >= 4, finding?.what);
  return [...names, ...OF_USERS].sort();
}

test('the Dockerfile is one, and has nothing that its linter finds', () => {
  assert.equal(validate(DOCKERFILE), []);
  const bases = named('FROM').map((each) => each.getArgumentsContent() ?? '');
  assert.is(bases.length, 2);
  for (const base of bases) assert.ok(base.startsWith('$'), 'of one base');
});

test('it installs what compiling takes, and for running the libraries that are linked, alone', () => {
  const words = [join(ROOT, 'tools', 'setup.mjs'), '--package', '--list'];
  const needs = spawnSync(process.execPath, words, { encoding: 'utf8' }).stdout.trim().split(' ');
  assert.equal(installedBy(0), needs.sort());
  const linked = ['fantail-rx', 'fantail.node'].flatMap((name) => {
    const file = join(ROOT, 'native', 'build', name);
    const { stdout } = spawnSync('readelf', ['-d', file], { encoding: 'utf8' });
    return [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, library = '']) => library);
  });
  assert.ok(linked.length > 0);
  const packages = linked.filter((library) => !ALWAYS.test(library)).map((it) => PACKAGES[it]);
  assert.equal(installedBy(1), [...new Set(packages)].sort());
});

test('fantail itself is its first process, stopped by SIGTERM', () => {
  const [entry] = named('ENTRYPOINT');
  assert.is(entry?.getArgumentsContent(), '["fantail"]', 'no shell that signals would end at');
  assert.is(named('STOPSIGNAL')[0]?.getArgumentsContent(), 'SIGTERM');
});

test('its health is what /readyz answers, on whatever port', async () => {
  const text = named('HEALTHCHECK')[0]?.getArgumentsContent() ?? '';
  const [, list = ''] = /^CMD\s+(.*)$/.exec(text) ?? [];
  const words = JSON.parse(list) as string[]; // exec form is JSON
  const asked: string[] = [];
  let status = 200;
  // only the status counts: what answers so when is the affair of test/control
  const server = createServer(({ url, headers }, response) => {
    asked.push(`${url} ${headers.host}`);
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens to a port
  const health = async (at: number) => {
    const [command = '', ...rest] = words.map((word) => word.replace('/12345', `/${at}`));
    const program = new Program(command, rest);
    return (await program.wait()).status;
  };
  assert.is(await health(port), 0);
  status = 503;
  assert.is(await health(port), 1);
  await new Promise((resolve) => server.close(resolve));
  assert.is(await health(port), 1, 'nobody answers');
  assert.equal(asked, ['/readyz 127.0.0.1', '/readyz 127.0.0.1']);
});

test('docker run and the manifest give the rights that the code asks for, and no others', () => {
  const [line = ''] = /^docker run [\s\S]*?[^\\]$/m.exec(PAGE) ?? [];
  assert.match(line, / --cap-drop=ALL /);
  const added = [...line.matchAll(/--cap-add=(\w+)/g)].map(([, name = '']) => name);
  assert.equal(added.sort(), rightsNeeded());
  const unit = read('tools', 'fantail@.service');
  const [, ambient = ''] = /^AmbientCapabilities=(.*)$/m.exec(unit) ?? [];
  const users = ambient.split(' ').map((name) => name.replace('CAP_', ''));
  assert.equal([...users, ...OF_USERS].sort(), added, 'as the unit for systemd, whose user is one');
});

/** The documents of the manifest as they are. */
function manifest(): [Namespace, ConfigMap, DaemonSet] {
  const documents = parseAllDocuments(MANIFEST);
  assert.ok(Array.isArray(documents));
  assert.equal(
    documents.flatMap(({ errors, warnings }) => [...errors, ...warnings]),
    [],
  );
  const [namespace, map, set] = documents.map((document) => document.toJS());
  assert.is(documents.length, 3);
  return [new Namespace(namespace), new ConfigMap(map), new DaemonSet(set)];
}

function container() {
  const [, , set] = manifest();
  const pod = set.spec?.template.spec;
  const [only] = pod?.containers ?? [];
  assert.ok(pod !== undefined && only !== undefined);
  return { pod, only };
}

test('the manifest is valid by the schemas of Kubernetes, and has no key that they do not', () => {
  for (const each of manifest()) each.validate();
  assert.throws(() => new DaemonSet({ spec: {} } as never).validate(), 'the schemas refuse');
  // they allow further keys: the compiler does not, in a literal
  const [namespace, map, set] = parseAllDocuments(MANIFEST).map((each) => JSON.stringify(each));
  const program = (words = set) => `import type { IDaemonSet } from 'kubernetes-models/apps/v1';
import type { IConfigMap, INamespace } from 'kubernetes-models/v1';
export const documents: [INamespace, IConfigMap, IDaemonSet] = [${namespace}, ${map}, ${words}];\n`;
  const compile = (text: string) => {
    const file = join(ROOT, 'build', `manifest-${process.pid}.mts`);
    writeFileSync(file, text);
    const options = [
      '--ignoreConfig',
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--types',
      '',
    ];
    const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
    const words = [...options, '--skipLibCheck', '--target', 'es2022', file];
    const { status, stdout } = spawnSync(tsc, words, { encoding: 'utf8', cwd: ROOT });
    rmSync(file);
    return { status, stdout };
  };
  assert.equal(compile(program()), { status: 0, stdout: '' });
  const misspelt = compile(program(set?.replace('"readinessProbe"', '"readynessProbe"')));
  assert.match(misspelt.stdout, /readynessProbe/);
});

test('its pods have few rights, whole cores, and probes of the control port', () => {
  const { pod, only } = container();
  assert.is(pod.hostNetwork, true);
  const { capabilities, ...rest } = only.securityContext ?? {};
  assert.equal(capabilities?.drop, ['ALL']);
  assert.equal([...(capabilities?.add ?? [])].sort(), rightsNeeded());
  assert.is(rest.privileged, undefined);
  assert.equal([rest.allowPrivilegeEscalation, rest.readOnlyRootFilesystem], [false, true]);
  assert.equal(only.resources?.requests, only.resources?.limits);
  assert.match(String(only.resources?.limits?.cpu), /^[1-9]\d*$/);
  const probes = [only.startupProbe, only.readinessProbe, only.livenessProbe];
  assert.equal(
    probes.map((probe) => probe?.httpGet?.path),
    ['/readyz', '/readyz', '/healthz'],
  );
  const [, map] = manifest();
  const text = map.data?.['fantail.yaml'] ?? '';
  const { control } = parseDocument(text).toJS() as { control: string };
  for (const probe of probes) assert.is(`${probe?.httpGet?.host}:${probe?.httpGet?.port}`, control);
});

test('fantail takes its words, and the configuration of its map', async () => {
  const { only } = container();
  const [, map] = manifest();
  const file = join(folder, 'fantail.yaml');
  writeFileSync(file, map.data?.['fantail.yaml'] ?? '');
  writeFileSync(join(folder, 'token'), 'a-token\n', { mode: 0o600 });
  const check = new Program(process.execPath, [MAIN, 'config', 'check', file]);
  assert.is((await check.wait()).status, 0, check.told());
  const words = (only.args ?? []).map((word) =>
    word.replace('$(NODE_IP)', '127.0.0.1').replace('/etc/fantail/fantail.yaml', file),
  );
  // there is no such interface here: said once all words and the file have been taken
  const up = new Program(process.execPath, [MAIN, ...words]);
  assert.is((await up.wait()).status, 1, up.told());
  assert.match(up.stderr, /eth1/);
});

test.run();
