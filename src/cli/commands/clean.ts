/** `fantail clean`: ends and removes what a crash has left, ours only, and says what. */
import { removeLeftovers } from '../../demo/scene.js';
import { counted } from '../../domain/counts.js';
import { Failure } from '../../domain/errors.js';
import { dataPlanes, end, type Leftover } from '../../replicator/leftovers.js';

interface Cleaned {
  readonly ended: { readonly pid: number; readonly name: string; readonly interface: string }[];
  readonly namespaces: string[];
  /** Supervisors that live, and so were left alone with what is theirs. */
  readonly left: { readonly pid: number; readonly interface: string }[];
}

/** What a plane serves, `?` where nothing tells. */
function interfaceOf({ processes }: Leftover): string {
  return processes.find((each) => each.interface !== null)?.interface ?? '?';
}

/** `interfaceName`: null for all. */
export async function clean(
  interfaceName: string | null,
  flags: { json?: boolean },
): Promise<void> {
  if (process.geteuid?.() !== 0)
    throw new Failure('only root sees the processes of others; run it with sudo');
  const cleaned: Cleaned = { ended: [], namespaces: [], left: [] };
  for (const plane of dataPlanes()) {
    const served = interfaceOf(plane);
    if (interfaceName !== null && served !== interfaceName && served !== '?') continue;
    if (plane.supervisor !== null) {
      cleaned.left.push({ pid: plane.supervisor, interface: served });
      continue;
    }
    for (const { pid, name } of await end(plane))
      cleaned.ended.push({ pid, name, interface: served });
  }
  if (interfaceName === null) cleaned.namespaces.push(...removeLeftovers());
  console.log(flags.json === true ? JSON.stringify(cleaned) : textOf(cleaned));
}

function textOf({ ended, namespaces, left }: Cleaned): string {
  const lines = [
    ...ended.map(({ pid, name, interface: served }) => `ended ${name} (pid ${pid}) of ${served}`),
    ...namespaces.map((name) => `removed the namespace ${name}`),
    ...left.map(
      ({ pid, interface: served }) => `left alone: fantail up (pid ${pid}) serves ${served}`,
    ),
  ];
  const count = ended.length + namespaces.length;
  return [...lines, count === 0 ? 'nothing to clean' : `cleaned ${counted(count, 'thing')}`].join(
    '\n',
  );
}
