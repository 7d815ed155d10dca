/** What a client is told when it, or its node, has run out of something: the true cause, and what to do; afterwards it goes on. */
import { expect, test } from "bun:test";
import { runClient } from "../support/client-program.ts";

const LIMIT_MS = 60_000;
const limited = (limit: string) => ["sh", "-c", `ulimit ${limit}; exec "$@"`, "sh"];

const NO_DESCRIPTORS =
  "this program has no file descriptors left (EMFILE); raise its limit (ulimit -n), or close files and leases that are not needed";

test(
  "a program without descriptors hears so from every call that needs some, and goes on when it has closed others",
  async () => {
    const { said, exitCode } = await runClient(
      `
      import { closeSync, openSync } from "node:fs";
      process.on("unhandledRejection", (error) => say({ unhandled: error.message }));
      const rf = await invoker({ cores: 2 });
      await (await rf.allocate("rfaas:echo", { polling: "warm" })).release();
      const held = [];
      const fill = () => { try { for (;;) held.push(openSync("/dev/null", "r")); } catch {} };
      const attempt = async (what, made) => { fill(); say([what, failure(await made().catch((error) => error))]); };
      await attempt("allocate", () => rf.allocate("rfaas:echo"));
      await attempt("build", () => rf.allocate(FUNCTIONS + "/good.ts"));
      await attempt("private", () => invoker());
      await attempt("tcp", () => invoker({ node: "127.0.0.1:1" }));
      await attempt("unix", () => invoker({ node: "/run/nowhere.sock" }));
      // Some of what a lease needs can be had, and then no more.
      for (let free = 1; free < 5; free++) {
        fill();
        for (let i = 0; i < free; i++) closeSync(held.pop());
        const error = await rf.allocate("rfaas:echo", { polling: "warm", workers: 2 }).then((lease) => lease.release(), (error) => error);
        say(["part", failure(error)]);
      }
      for (const fd of held) closeSync(fd);
      const lease = await rf.allocate("rfaas:echo", { polling: "warm", workers: 2 });
      say((await rf.status()).leases);
      await rf.close();
      `,
      { prefix: limited("-n 256") },
    );
    expect(exitCode).toBe(0);
    expect(said.at(-1)).toBe(1);
    expect(said).toHaveLength(10);
    for (const line of said.slice(0, -1)) {
      const [what, error] = line as [string, { name: string; code: string; message: string }];
      expect([what, error.message]).toEqual([what, expect.stringContaining(NO_DESCRIPTORS)]);
      expect([what, error.name]).toEqual([
        what,
        what === "private" ? "NodeUnreachable" : "EnvironmentError",
      ]);
    }
  },
  LIMIT_MS,
);

test.each([
  [
    "-f 1000",
    "the node may make no file so large, and no shared memory (EFBIG); raise its limit (ulimit -f unlimited)",
  ],
  ["-n 18", "no file descriptors left (EMFILE); raise"],
])(
  "a node under ulimit %s says which limit it was",
  async (limit, message) => {
    const { said } = await runClient(
      `
      const attempt = async () => {
        await using rf = await invoker({ cores: 8 });
        await rf.allocate("rfaas:echo", { workers: 8 });
      };
      say(failure(await attempt().catch((error) => error)));
      `,
      { prefix: limited(limit) },
    );
    expect((said[0] as { message: string }).message).toContain(message);
  },
  LIMIT_MS,
);
