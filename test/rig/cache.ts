/** What tests fetch stays in the user's cache: other clones need it, too. */
import { homedir } from 'node:os';
import { join } from 'node:path';

export const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'fantail');
