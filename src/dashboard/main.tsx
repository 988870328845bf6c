/** The dashboard's program: it opens the control channel of its own origin, and draws the page. */
import { createRoot } from 'react-dom/client';
import { App } from './app.js';
import { History } from './link/history.js';
import { Link } from './link/link.js';
import { applyKept } from './theme.js';

applyKept();
const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
const link = new Link(`${scheme}://${location.host}/`);
const history = new History();
let drawn = link.current().interval;
link.follow(() => {
  const { interval, phase } = link.current();
  if (phase === 'lost') history.gap();
  else if (interval !== null && interval !== drawn) history.add(interval);
  drawn = interval;
});
link.start();
const root = document.getElementById('root');
if (root === null) throw new Error('page.html has no root');
createRoot(root).render(<App link={link} history={history} />);
