// The worker of an engine as it is built, which dies or hangs when it is told to, as it would of a fault of its own.
import '../../dist/engine/worker/node-main.js';

process.on('message', (message) => {
  if (message.type === 'die') process.kill(process.pid, 'SIGKILL');
  if (message.type === 'hang') for (;;);
});
