/** Rooms by podman: real ones. */
import { afterAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { invoker } from "../../src/index.ts";
import { KEPT_DEBIAN, prepareDebian } from "../packaging/clean-debian.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { onOneMachine } from "../support/fabric.ts";
import { whyNoPodman, withPodman } from "../support/podman.ts";
import { ask, roomedNode, testRooms } from "../support/rooms.ts";

type Room = typeof import("../functions/room.ts");
const MODULE = join(FUNCTIONS, "room.ts");

const lack = whyNoPodman();
if (lack !== undefined) console.error(`SKIPPED: rooms by podman: ${lack}`);

const start = (args: readonly string[]) => roomedNode([...args, "--sandbox", "podman"], withPodman);
const containers = (): string[] =>
  Bun.spawnSync(["podman", "ps", "--all", "--format", "{{.Names}}"])
    .stdout.toString()
    .split("\n")
    .filter((name) => name.startsWith("rfaas-"));

if (lack === undefined)
  onOneMachine("hosts share memory with their client").describe("a room by podman", () => {
    afterAll(() => expect(containers()).toEqual([]));

    testRooms(start);

    test("may have another system around it, which stays as it was", async () => {
      const missing = await prepareDebian();
      if (missing !== null) return console.error(`SKIPPED: another system: ${missing}`);
      await using served = await start(["--images", dirname(KEPT_DEBIAN)]);
      await using rf = await invoker({ node: served.node.address });
      await using lease = await rf.allocate<Room>(MODULE, { image: "debian-bookworm" });
      const ours = ["/usr/bin/podman", "/usr/bin/gcc"].filter((path) => existsSync(path));
      expect(ours).not.toEqual([]);
      const theirs = "/usr/bin/apt-get";
      expect(await ask(lease, "look", { secrets: [...ours, theirs] })).toMatchObject({
        seen: [theirs],
        package: expect.stringMatching(/^E/),
      });
      expect(existsSync(join(KEPT_DEBIAN, ".rfaas"))).toBe(false);
    }, 900_000);

    test("of an image that is not there is refused, and podman fetches none", async () => {
      await using served = await start([]);
      await using rf = await invoker({ node: served.node.address });
      const refused = await rf
        .allocate(MODULE, { image: "localhost/rfaas-missing:1" })
        .catch((error: Error) => error);
      expect(refused).toMatchObject({ code: "RFAAS_NODE_FAILED" });
      expect((refused as Error).message).toContain("podman pull");
      const file = await rf.allocate(MODULE, { image: "dir:/etc" }).catch((error: Error) => error);
      expect(file).toMatchObject({ code: "RFAAS_NOT_ALLOWED" });
    }, 120_000);
  });
