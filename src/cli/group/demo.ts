/** `fantail fleet demo`: the demo of a group, and its group, which it asks straight in etcd. */
import type { OpenGroup } from '../../demo/group/fleet-demo.js';
import { type FleetDemoFlags, fleetDemo } from '../../demo/group/fleet-demo.js';
import { etcdOf, fleetAddress } from '../../fleet/config.js';
import { Etcd } from '../../fleet/etcd/store.js';
import { GroupDesk } from '../../fleet/registry/desk.js';
import { Keys } from '../../fleet/registry/keys.js';

const openGroup: OpenGroup = (url) => {
  const address = fleetAddress(url);
  const etcd = new Etcd(etcdOf(address, {}));
  return { group: new GroupDesk(etcd, new Keys(address.group)), close: () => etcd.close() };
};

export const demo = (flags: FleetDemoFlags): Promise<void> => fleetDemo(flags, openGroup);
