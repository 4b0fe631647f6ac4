// Plays the plan on standard input with node-postgres; says of each step what it saw, as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.CONFORMANCE_PACKAGES);
const { Client } = require("pg");
const Cursor = require("pg-cursor");

const SLICE = 10;
const { mode, connection, steps } = JSON.parse(readFileSync(0, "utf8"));

const QUERIES = {
  simple: ({ sql }) => sql,
  unnamed: ({ sql, params }) => ({ text: sql, values: params }),
  named: ({ sql, params }) => ({ name: sql.slice(0, 30), text: sql, values: params }),
};

async function run(client, step) {
  const answer = await client.query(QUERIES[mode](step));
  const last = Array.isArray(answer) ? answer[answer.length - 1] : answer;
  return last.rowCount;
}

const received = () => client.connection.stream.bytesRead;

// An error is told before the round trip is over.
let rounds = 0;
const over = async (round) => {
  while (mode !== "cursor" && rounds < round) await new Promise(setImmediate);
};

async function timed(work) {
  const began = process.hrtime.bigint();
  const before = received(), round = rounds + 1;
  let saw;
  try {
    saw = { rows: (await work()) ?? null, sqlstate: "00000" };
  } catch (error) {
    if (!error.code) throw error;
    saw = { rows: null, sqlstate: error.code, message: error.message, hint: error.hint };
  }
  const wall_us = Number((process.hrtime.bigint() - began) / 1000n);
  await over(round);
  // Under TLS they are not those that the server wrote.
  return { ...saw, wall_us, bytes: connection.ssl ? null : received() - before };
}

const client = new Client(connection);
await client.connect();
client.connection.on("readyForQuery", () => (rounds += 1));
const seen = [];
if (mode === "cursor") {
  const cursor = client.query(new Cursor(steps[0].sql, steps[0].params));
  for (const _ of steps) seen.push(await timed(async () => (await cursor.read(SLICE)).length));
  await cursor.close();
} else {
  for (const step of steps) seen.push(await timed(() => run(client, step)));
}
await client.end();
process.stdout.write(JSON.stringify(seen));
