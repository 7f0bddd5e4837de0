// Answers tickets, one after another.
const fs = require('fs');
const desk = require('./desk');

(async () => {
  const db = await desk.database();
  const queue = await desk.queue();
  fs.writeFileSync('/tmp/ready', '');
  console.log('worker ready');
  for (;;) {
    const { element } = await queue.brPop('tickets', 0);
    await db.query('update tickets set answer = $2 where id = $1', [element, `answered by ${process.env.SIGNATURE}`]);
    console.log('answered', element);
  }
})();
