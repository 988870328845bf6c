/**
 * The manifest of a group is what Kubernetes takes and what fantail takes, and its upgrade is by
 * draining: one pod at a time, each with the time that handing over takes. What a pod's rights and
 * probes must be is that of the other manifest, which test/package/container.test.ts looks at.
 *
 * needs: a core
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DaemonSet } from 'kubernetes-models/apps/v1';
import { ConfigMap, Namespace } from 'kubernetes-models/v1';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import { DRAIN_MS_MAX } from '../../src/fleet/member/member.js';
import { MAIN, Program, ROOT, run } from '../rig/program.js';

const test = suite('manifest of a group');
const folder = mkdtempSync(join(tmpdir(), 'manifest-'));
test.after(() => rmSync(folder, { recursive: true }));

/** The documents of a manifest, checked by the schemas of Kubernetes. */
function read(name: string): { readonly map: ConfigMap; readonly set: DaemonSet } {
  const text = readFileSync(join(ROOT, 'tools', 'container', name), 'utf8');
  const documents = parseAllDocuments(text);
  assert.ok(Array.isArray(documents));
  assert.equal(
    documents.flatMap(({ errors, warnings }) => [...errors, ...warnings]),
    [],
  );
  const [namespace, map, set, ...more] = documents.map((document) => document.toJS());
  assert.equal(more, []);
  const made = { map: new ConfigMap(map), set: new DaemonSet(set) };
  new Namespace(namespace).validate();
  for (const each of Object.values(made)) each.validate();
  return made;
}

function podOf({ spec }: DaemonSet) {
  const pod = spec?.template.spec;
  const [container] = pod?.containers ?? [];
  assert.ok(pod !== undefined && container !== undefined);
  return { pod, container };
}

test('it is valid by the schemas of Kubernetes, and a pod is what it is in the other manifest', () => {
  const [one, other] = ['fleet.yaml', 'kubernetes.yaml'].map((name) => podOf(read(name).set));
  assert.ok(one && other);
  assert.equal(one.container.securityContext, other.container.securityContext);
  assert.equal(one.container.resources, other.container.resources);
  assert.equal(one.container.image, other.container.image);
  assert.equal([one.pod.hostNetwork, other.pod.hostNetwork], [true, true]);
  const paths = ({ container }: typeof one) =>
    [container.startupProbe, container.readinessProbe, container.livenessProbe].map(
      (probe) => probe?.httpGet?.path,
    );
  assert.equal(paths(one), paths(other));
});

test('an upgrade ends one pod after the other, and leaves each the time to hand over', () => {
  const { set } = read('fleet.yaml');
  const { updateStrategy, minReadySeconds = 0 } = set.spec ?? {};
  assert.is(updateStrategy?.type, 'RollingUpdate');
  assert.equal(updateStrategy?.rollingUpdate, { maxUnavailable: 1, maxSurge: 0 });
  const { pod } = podOf(set);
  assert.ok((pod.terminationGracePeriodSeconds ?? 0) * 1000 >= 2 * DRAIN_MS_MAX);
  assert.ok(minReadySeconds * 1000 >= DRAIN_MS_MAX, 'it has its share again before the next ends');
});

test('fantail takes its words, with the configuration of its map', async () => {
  const { map, set } = read('fleet.yaml');
  const file = join(folder, 'fantail.yaml');
  writeFileSync(file, map.data?.['fantail.yaml'] ?? '');
  writeFileSync(join(folder, 'token'), 'a-token\n', { mode: 0o600 });
  const key = join(folder, 'tls.key');
  const words = ['-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=etcd', '-keyout', key];
  run('openssl', ['req', '-x509', ...words, '-out', join(folder, 'tls.crt')]);
  run('cp', [join(folder, 'tls.crt'), join(folder, 'ca.crt')]);
  // RFC 5737: nobody's; loopback would be refused, since other members must reach it
  const values: Record<string, string> = { NODE_IP: '192.0.2.1', NODE_NAME: 'node-1' };
  const { container } = podOf(set);
  assert.equal(container.env?.map(({ name }) => name).sort(), Object.keys(values).sort());
  const args = (container.args ?? []).map((word) =>
    word
      .replace(/\$\((\w+)\)/, (_, name) => values[name] ?? '')
      .replace('/etc/fantail/fantail.yaml', file),
  );
  assert.ok(args.includes('node-1') && args.includes('192.0.2.1:12345'));
  // there is no such interface here: said once all words and files have been taken
  const up = new Program(process.execPath, [MAIN, ...args]);
  assert.is((await up.wait()).status, 1, up.told());
  assert.match(up.stderr, /eth1/);
});

test.run();
