/** The dashboard's program: it opens the control channel of its own origin, and draws the page. */
import { createRoot } from 'react-dom/client';
import { App } from './app.js';
import { wasRenewed } from './link/build.js';
import { History } from './link/history.js';
import { Link } from './link/link.js';
import { Faults } from './parts/faults.js';
import { applyKept } from './theme.js';

applyKept();
const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
const link = new Link(`${scheme}://${location.host}/`);
const history = new History();
let drawn = link.current().paced;
link.follow(() => {
  const { paced, phase } = link.current();
  if (phase === 'lost') history.gap();
  else if (paced !== null && paced !== drawn) history.add(paced);
  drawn = paced;
});
link.start();
const root = document.getElementById('root');
if (root === null) throw new Error('page.html has no root');
const isRenewed = wasRenewed();
createRoot(root).render(
  <Faults>
    <App link={link} history={history} isRenewed={isRenewed} />
  </Faults>,
);
