// Takes tickets and shows what became of them.
const fs = require('fs');
const http = require('http');
const os = require('os');
const desk = require('./desk');

const read = (name) => fs.readFileSync(name, 'utf8').trim();

const pages = {
  '/': () => `${read('/app/greeting.txt')} ${read('/app/built')} ${read('/etc/desk/limits.conf')} ${os.hostname()}`,
  '/edition': () => read('/app/edition.txt'),
  '/notice': () => read('/app/notice.txt'),
  '/new': async (db, queue) => {
    const made = await db.query("insert into tickets (what) values ('it is broken') returning id");
    await queue.lPush('tickets', String(made.rows[0].id));
    return `ticket ${made.rows[0].id}`;
  },
  '/answered': async (db) => {
    const found = await db.query('select count(*) as n, min(answer) as answer from tickets where answer is not null');
    return `${found.rows[0].n} ${found.rows[0].answer}`;
  },
};

(async () => {
  const db = await desk.database();
  const queue = await desk.queue();
  http.createServer(async (req, res) => {
    try {
      const page = pages[req.url];
      res.writeHead(page ? 200 : 404);
      res.end(page ? await page(db, queue) : 'no such page');
    } catch (err) {
      res.writeHead(500);
      res.end(String(err));
    }
  }).listen(3000, () => console.log('desk open'));
})();
