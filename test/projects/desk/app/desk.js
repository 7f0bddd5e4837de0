// What the web side and the workers share: the queue in Redis, the tickets in PostgreSQL.
const fs = require('fs');
const { Pool } = require('pg');
const redis = require('redis');

exports.database = async () => {
  const pool = new Pool({ password: fs.readFileSync('/run/secrets/password', 'utf8') });
  pool.on('error', (err) => console.log('database:', err.message)); // the next query connects anew
  await pool.query('create table if not exists tickets (id serial primary key, what text, answer text)');
  return pool;
};

exports.queue = async () => {
  const client = redis.createClient({ socket: { path: process.env.QUEUE } });
  client.on('error', (err) => console.log('queue:', err.message));
  await client.connect();
  return client;
};

for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => { console.log('closed'); process.exit(0); });
