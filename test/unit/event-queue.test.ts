import { expect, test } from "bun:test";
import { EventQueue } from "../../src/client/events/event-queue.ts";
import type { LeaseEvent } from "../../src/client/events/lease-event.ts";

const line = (worker: number, n: number): LeaseEvent => ({
  type: "log",
  part: 0,
  worker,
  level: "info",
  message: String(n),
  data: undefined,
  at: new Date(0),
  dropped: 0,
});

test("a queue that nobody reads is bounded, counts the lines that it drops, and keeps what happens to the lease", async () => {
  let ended = 0;
  const queue = new EventQueue(() => ended++);
  queue.push({ type: "revoking", part: 0, deadline: new Date(0), message: "soon" });
  for (let n = 0; n < 5000; n++) queue.push(line(n % 2, n));
  queue.push({ type: "lost", part: 0, message: "gone" });
  expect(ended).toBe(1);
  const events: LeaseEvent[] = [];
  for await (const event of queue) events.push(event);
  expect(events).toHaveLength(1000);
  expect([events[0]!.type, events.at(-1)!.type]).toEqual(["revoking", "lost"]);
  const lines = events.filter((event) => event.type === "log");
  const dropped = lines.reduce((sum, event) => sum + event.dropped, 0);
  expect(lines.length + dropped).toBe(5000);
  for (const worker of [0, 1])
    expect(lines.find((event) => event.worker === worker)!.dropped).toBeGreaterThan(0);
});

test("a queue takes nothing after it was left, nor after the last event", async () => {
  const left = new EventQueue(() => {});
  await left.return();
  left.push({ type: "released" });
  expect((await left.next()).done).toBe(true);
  const over = new EventQueue(() => {});
  over.push({ type: "released" });
  over.push(line(0, 1));
  expect((await over.next()).value?.type).toBe("released");
  expect((await over.next()).done).toBe(true);
});
