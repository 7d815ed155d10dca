/** A connection that is made again and again, with a peer and a time that the test plays. */
import { expect, test } from "bun:test";
import { LastingConnection } from "../../src/control/lasting-connection.ts";
import { parseAddress } from "../../src/control/address.ts";
import { managerToNodeVocabulary } from "../../src/protocol/manager-messages.ts";
import { TestClock } from "../support/clock.ts";
import { DialledLinks } from "../support/dialled.ts";

interface Word {
  t: string;
}

/** `random` chooses the pauses: 1 for the longest. */
function lasting(silenceMs = 5000, random = 1) {
  const clock = new TestClock();
  const links = new DialledLinks<Word, Word>();
  const heard: string[] = [];
  const address = parseAddress("manager:1");
  const connection = new LastingConnection<Word, Word>(
    (events) => links.dial(address, managerToNodeVocabulary as never, events),
    silenceMs,
    {
      opened: () => heard.push("opened"),
      message: ({ t }) => heard.push(t),
      lost: ({ message }) => heard.push(`lost: ${message}`),
    },
    { clock, random: () => random },
  );
  return { clock, links, heard, connection };
}

test("it connects again after longer and longer pauses, and at once again where it was taken", () => {
  const { clock, links, heard, connection } = lasting();
  for (const pauseMs of [50, 100, 200, 400, 800, 1600, 2000, 2000]) {
    const { length } = links.all;
    links.last.breakOff("refused");
    clock.pass(pauseMs - 1);
    expect(links.all).toHaveLength(length);
    clock.pass(1);
    expect(links.all).toHaveLength(length + 1);
  }
  links.last.open();
  connection.accepted();
  links.last.breakOff();
  clock.pass(50);
  links.last.open();
  expect(heard.slice(-3)).toEqual(["opened", "lost: it was closed", "opened"]);
});

test("pauses are as long as chance will have it, so that not all come back at once", () => {
  const { clock, links } = lasting(5000, 0);
  links.last.breakOff();
  clock.pass(24);
  expect(links.all).toHaveLength(1);
  clock.pass(1);
  expect(links.all).toHaveLength(2);
});

test("a peer that was silent for too long is given up, one that says something is not", () => {
  const { clock, links, heard, connection } = lasting(5000);
  links.last.open();
  connection.accepted();
  for (let i = 0; i < 10; i++) {
    clock.pass(4000);
    links.last.say({ t: "alive" });
  }
  expect(links.all).toHaveLength(1);
  clock.pass(5000);
  expect(links.all[0]!.over).toBe(false);
  clock.pass(1000);
  expect(heard.at(-1)).toBe("lost: it is silent");
  expect(links.all[0]!.over).toBe(true);
});

test("a peer that does not take us is given up sooner, and given twice as long each time", () => {
  const { clock, links } = lasting(60_000);
  for (const ms of [3000, 4000, 8000, 16_000]) {
    const { length } = links.all;
    const tries = links.last;
    clock.pass(ms - 1000);
    expect(tries.over).toBe(false);
    clock.pass(1000);
    expect(tries.over).toBe(true);
    // The next attempt begins after a pause; the first of its ticks is in this second.
    clock.pass(1000);
    expect(links.all).toHaveLength(length + 1);
  }
});

test("what a former connection still says or loses is nobody's business", () => {
  const { clock, links, heard } = lasting();
  links.last.open();
  const [former] = links.all;
  former!.breakOff();
  clock.pass(50);
  links.last.open();
  const before = heard.length;
  former!.say({ t: "late" });
  former!.breakOff("again");
  expect(heard).toHaveLength(before);
});

test("closed, it tries no more and leaves no timer", () => {
  for (const connected of [true, false]) {
    const { clock, links, heard, connection } = lasting();
    if (connected) links.last.open();
    const before = heard.length;
    connection.close();
    connection.close();
    expect(links.last.over).toBe(true);
    expect(links.last.held).toBe(false);
    clock.pass(60_000);
    expect(links.all).toHaveLength(1);
    expect(heard).toHaveLength(before);
    expect(clock.waiting).toBe(0);
  }
});

test("it keeps the program alive until it is told not to, and so does each further connection", () => {
  const { clock, links, connection } = lasting();
  links.last.open();
  expect(links.last.held).toBe(true);
  connection.hold(false);
  expect(links.last.held).toBe(false);
  links.last.breakOff();
  clock.pass(50);
  links.last.open();
  expect(links.last.held).toBe(false);
  connection.hold(true);
  expect(links.last.held).toBe(true);
});
