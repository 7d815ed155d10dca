/** The order in which requests that wait for room are served. */
import { expect, test } from "bun:test";
import { RequestRefused } from "../../src/control/requests.ts";
import { FULL, WaitingLine } from "../../src/executor/admission/waiting-line.ts";
import { Line } from "../../src/lease/line.ts";
import { TestClock } from "../support/clock.ts";

/** All that wait, in the order in which they are served. */
function served(line: Line<string>): string[] {
  const all: string[] = [];
  for (let first = line.first; first !== undefined; first = line.first) {
    all.push(first);
    line.shift();
  }
  return all;
}

test("one user's requests are served in the order of their arrival", () => {
  const line = new Line<string>();
  for (const name of ["a", "b", "c"]) line.add("ada", name);
  expect([line.size, served(line), line.size]).toEqual([3, ["a", "b", "c"], 0]);
  expect(line.first).toBeUndefined();
  line.shift();
  expect(line.size).toBe(0);
});

test("users take turns, however many requests each has", () => {
  const line = new Line<string>();
  for (let i = 0; i < 4; i++) line.add("ada", `a${i}`);
  line.add("bob", "b0");
  line.add("cy", "c0");
  line.add("bob", "b1");
  expect(served(line)).toEqual(["a0", "b0", "c0", "a1", "b1", "a2", "a3"]);
});

test("the first keeps its place until it is served", () => {
  const line = new Line<string>();
  line.add("ada", "large");
  line.add("bob", "small");
  expect([line.first, line.first]).toEqual(["large", "large"]);
});

test("those that leave are not served", () => {
  const line = new Line<string>();
  for (const name of ["a", "b", "c"]) line.add("ada", name);
  line.add("bob", "d");
  expect(line.remove((name) => name === "a" || name === "d")).toEqual(["a", "d"]);
  expect([line.size, served(line)]).toEqual([2, ["b", "c"]]);
});

test("a user whose requests fill the line keeps no other user from it", async () => {
  const line = new WaitingLine<string>(new TestClock());
  let room = false;
  const book = (): string => {
    if (!room) throw new RequestRefused(FULL, "no room");
    return "booked";
  };
  const ask = (user: string, request: number) =>
    line.turn({ client: {}, user, request, waitMs: 1000 }, book).catch(({ code }) => code);
  const many = Array.from({ length: 4097 }, (_, i) => ask("ada", i));
  expect(await many.at(-1)).toBe(FULL);
  const other = ask("bob", 0);
  room = true;
  line.serve();
  expect([await other, await many[0], await many[4095]]).toEqual(["booked", "booked", "booked"]);
});
