/** How awaited calls are driven while their caller sleeps. */
import { expect, test } from "bun:test";
import { Reactor } from "../../src/client/calls/reactor.ts";

test("an answer that the look at the workers takes in ends its call, though nothing tells of it", async () => {
  let taken = false;
  let answered = false;
  const reactor = new Reactor({
    harvest() {
      if (!taken || answered) return 0;
      answered = true;
      reactor.rest();
      ended.resolve();
      return 1;
    },
    park() {},
    unpark() {},
    endStranded() {
      taken = true;
      return false;
    },
  });
  const ended = Promise.withResolvers<void>();
  reactor.follow();
  await ended.promise;
  expect(answered).toBe(true);
});
