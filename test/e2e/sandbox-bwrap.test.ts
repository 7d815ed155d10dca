/** Rooms by bubblewrap: real ones. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { LeaseRefused, invoker } from "../../src/index.ts";
import { bwrap } from "../../src/executor/sandbox/bwrap/driver.ts";
import { KEPT_DEBIAN, prepareDebian } from "../packaging/clean-debian.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { onOneMachine } from "../support/fabric.ts";
import { ask, roomedNode, testRooms } from "../support/rooms.ts";

type Room = typeof import("../functions/room.ts");
const MODULE = join(FUNCTIONS, "room.ts");
const lack = bwrap.whyNot();
if (lack) console.error(`SKIPPED: rooms by bubblewrap: ${lack.found}; run: ${lack.fix}`);

const ofProcess = (pid: number | string, name: string): string =>
  readFileSync(`/proc/${pid}/${name}`, "latin1");

const start = (args: readonly string[]) => roomedNode([...args, "--sandbox", "bwrap"]);

if (!lack)
  onOneMachine("hosts share memory with their client").describe("a room by bubblewrap", () => {
    testRooms(start);

    test("may have another system around it, where the operator has one for it", async () => {
      const missing = await prepareDebian();
      if (missing !== null) return console.error(`SKIPPED: another system: ${missing}`);
      await using served = await start(["--images", dirname(KEPT_DEBIAN)]);
      await using rf = await invoker({ node: served.node.address });
      const refused = await rf.allocate(MODULE, { image: "missing" }).catch((error) => error);
      expect(refused).toBeInstanceOf(LeaseRefused);
      expect(refused.message).toContain("--images");
      await using lease = await rf.allocate<Room>(MODULE, { image: "debian-bookworm" });
      const ours = ["/usr/bin/bwrap", "/usr/bin/gcc"].filter((path) => existsSync(path));
      expect(ours).not.toEqual([]);
      const theirs = "/usr/bin/apt-get";
      expect(await ask(lease, "look", { secrets: [...ours, theirs] })).toMatchObject({
        seen: [theirs],
        package: expect.stringMatching(/^E/),
      });
    }, 900_000);

    test("of a private node serves its client, with the network where the lease asks for it", async () => {
      process.env["RFAAS_EXECUTABLE"] = join(FUNCTIONS, "../../dist/rfaas");
      const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
      try {
        await using rf = await invoker({ sandbox: "bwrap" });
        await using shut = await rf.allocate<Room>(MODULE);
        expect((await ask(shut, "reach", { port: listener.port }))["code"]).toMatch(/^E/);
        await using open = await rf.allocate<Room>(MODULE, { network: true, env: { LEVEL: "3" } });
        expect(await ask(open, "reach", { port: listener.port })).toEqual({ code: null });
        const { environment } = await ask(open, "look", { secrets: [] });
        expect(environment).toContain("LEVEL");
        // What has made the room is outside of it, and the node's user.
        const [, bwrapPid] = /^PPid:\t(\d+)/m.exec(ofProcess(open.hostPid, "status"))!;
        expect(ofProcess(bwrapPid!, "comm")).toBe("bwrap\n");
        expect(ofProcess(bwrapPid!, "environ")).toMatch(/^(?:PWD=[^\0]*\0)?$/);
        expect(ofProcess(open.hostPid, "environ")).toContain("LEVEL=3");
      } finally {
        listener.stop(true);
      }
    }, 120_000);
  });
