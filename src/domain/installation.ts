/**
 * The files of this installation. Code asks here where they are: it runs bundled (build/programs/)
 * and, in tests and tools, as it was compiled (dist/).
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json. */
export const ROOT = rootAbove(dirname(fileURLToPath(import.meta.url)));

/** npm requires the field. */
export const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
};

/** A clone, with all that develops it, or a package, whose native part npm compiles. */
export const IS_CLONE = existsSync(join(ROOT, 'tsconfig.json'));

/** What builds it. */
export const BUILD_LINE = IS_CLONE ? 'npm run build' : 'npm rebuild -g fantail';

/** A script that Node runs as a process or thread of its own, by its path below src/: `main.js`. */
export const programFile = (name: string): string => join(ROOT, 'build', 'programs', name);

/** Of native/: `fantail-rx`. */
export const nativeFile = (name: string): string => join(ROOT, 'native', 'build', name);

/** A stock filter: `rewrite.wasm`. */
export const filterFile = (name: string): string => join(ROOT, 'build', 'filters', name);

/** The dashboard: one HTML page. */
export const pageFile = (): string => join(ROOT, 'build', 'dashboard', 'page.html');

/** The unit for systemd. */
export const UNIT_FILE = join(ROOT, 'tools', 'fantail@.service');

/** The same for two of the same build and for no others; tools/build.mjs makes it of the files. */
export const buildIdentity = (): string =>
  readFileSync(join(ROOT, 'build', 'identity'), 'utf8').trim();

function rootAbove(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : rootAbove(dirname(folder));
}
