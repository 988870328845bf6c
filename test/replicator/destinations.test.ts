/**
 * Which addresses may subscribe.
 *
 * needs: a core
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FantailError } from '../../src/domain/errors.js';
import { Destinations, defaultAllow, defaultAllowOf } from '../../src/replicator/destinations.js';

const test = suite('destinations');

const rules = new Destinations({
  own: [
    { ip: '10.0.0.1', prefix: 24 },
    { ip: '192.168.7.2', prefix: 31 },
  ],
  others: [{ ip: '172.16.5.5', prefix: 16 }],
  allow: ['10.0.0.0/24', '172.16.0.0/12', '192.168.7.2/31'],
  isExplicit: true,
});

function refusal(ip: string, port = 9001): string | null {
  try {
    rules.check({ ip, port });
    return null;
  } catch (error) {
    if (!(error instanceof FantailError)) throw error;
    assert.is(error.code, 'NOT_ALLOWED');
    return error.message;
  }
}

test('hosts of the allowed subnets may subscribe, first to last', () => {
  for (const ip of ['10.0.0.2', '10.0.0.254', '172.16.0.1', '172.31.255.254', '192.168.7.3'])
    assert.is(refusal(ip), null, ip);
});

test('what is just outside an allowed subnet is refused, and the sentence names the subnets and --allow', () => {
  for (const ip of [
    '9.255.255.255',
    '10.0.1.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.168.7.1',
    '8.8.8.8',
  ])
    assert.match(refusal(ip) ?? '', /outside what is allowed \(10\.0\.0\.0\/24, .*\); see --allow/);
});

test("fantail's own addresses are refused on every port", () => {
  for (const ip of ['10.0.0.1', '192.168.7.2']) assert.match(refusal(ip, 1) ?? '', /own address/);
});

test("addresses of the host's other interfaces are refused, their neighbours are not", () => {
  assert.match(refusal('172.16.5.5') ?? '', /another address of fantail's own host/);
  assert.is(refusal('172.16.5.6'), null);
});

test('an allowed subnet has two addresses that are no host, unless it has but two', () => {
  assert.match(
    refusal('172.31.255.255') ?? '',
    /broadcast address of the subnet 172\.16\.0\.0\/12/,
  );
  assert.match(refusal('172.16.0.0') ?? '', /is the address of the subnet 172\.16\.0\.0\/12/);
  assert.is(refusal('192.168.7.3'), null);
});

test('a group has to be allowed by name, and the sentence says how; first to last', () => {
  const more = '--allow 172.16.0.0/12 --allow 192.168.7.2/31 --allow 239.1.2.3/32';
  assert.ok(refusal('239.1.2.3')?.endsWith(more), refusal('239.1.2.3') ?? '');
  const allow = ['239.1.2.0/24', '224.0.0.0/16'];
  const groups = new Destinations({ own: [], others: [], allow, isExplicit: true });
  for (const ip of ['239.1.2.0', '239.1.2.3', '239.1.2.255', '224.0.1.0'])
    groups.check({ ip, port: 9001 });
  for (const [ip, why] of [
    ['239.1.3.0', /has to be allowed/],
    ['224.0.0.1', /run a link \(RFC 5771\)/],
    ['224.0.0.255', /run a link/],
  ] as const)
    assert.throws(
      () => groups.check({ ip, port: 9001 }),
      (error: unknown) => error instanceof FantailError && why.test(error.message),
    );
});

test('no default covers a group, however wide the subnet of the interface is', () => {
  const allow = defaultAllow({ loopback: false, addresses: [{ ip: '10.1.2.3', prefix: 0 }] });
  const group = { ip: '239.1.2.3', port: 9001 };
  for (const isExplicit of [false, true]) {
    const wide = new Destinations({ own: [], others: [], allow, isExplicit });
    wide.check({ ip: '10.9.9.9', port: 9001 });
    if (isExplicit) wide.check(group);
    else assert.throws(() => wide.check(group), /--allow 0\.0\.0\.0\/0 --allow 239\.1\.2\.3\/32$/);
  }
});

test('broadcast, subnet and other addresses that are no host are refused', () => {
  assert.match(refusal('10.0.0.255') ?? '', /broadcast address of the subnet/);
  assert.match(refusal('10.0.0.0') ?? '', /is the address of the subnet 10\.0\.0\.0\/24/);
  assert.match(refusal('255.255.255.255') ?? '', /broadcast/);
  assert.match(refusal('0.0.0.0') ?? '', /unspecified/);
  assert.match(refusal('250.1.2.3') ?? '', /reserved/);
});

test('by default the subnets of the interface may subscribe, and on a loopback 127.0.0.0/8', () => {
  const addresses = [{ ip: '10.1.2.3', prefix: 20 }];
  assert.equal(defaultAllow({ loopback: false, addresses }), ['10.1.0.0/20']);
  assert.equal(defaultAllow({ loopback: true, addresses: [] }), ['127.0.0.0/8']);
});

test('for the interface - it is the subnet that has the listen address', () => {
  const card = {
    address: '10.1.2.3',
    netmask: '',
    family: 'IPv4',
    mac: '',
    internal: false,
    cidr: '10.1.2.3/20',
  } as const;
  assert.equal(defaultAllowOf('10.1.2.3', [card]), ['10.1.0.0/20']);
  assert.equal(defaultAllowOf('127.0.0.1', [card]), ['127.0.0.0/8']);
});

test.run();
