/** Rooms by Docker's own client, over its service or one like it: hosts inherit no descriptor there, and are handed theirs. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { LeaseRefused, invoker } from "../../src/index.ts";
import { type Docker, openDocker, whyNoDocker } from "../support/docker.ts";
import { FUNCTIONS } from "../support/executable.ts";
import { onOneMachine } from "../support/fabric.ts";
import { roomedNode, testRooms } from "../support/rooms.ts";

const MODULE = join(FUNCTIONS, "room.ts");
const lack = whyNoDocker();
if (lack !== undefined) console.error(`SKIPPED: rooms by Docker: ${lack}`);

if (lack === undefined)
  onOneMachine("hosts share memory with their client").describe("a room by Docker", () => {
    let docker: Docker;
    beforeAll(async () => {
      docker = await openDocker();
    });
    afterAll(async () => {
      await docker[Symbol.asyncDispose]();
    });
    const start = (args: readonly string[]) =>
      roomedNode([...args, "--sandbox", "docker"], docker.within);

    testRooms(start);

    test("of an image that is not there is refused, and none is fetched; a path is no image", async () => {
      await using served = await start(["--images", "/"]);
      await using rf = await invoker({ node: served.node.address });
      const refused = await rf
        .allocate(MODULE, { image: "localhost/rfaas-missing:1" })
        .catch((error: Error) => error);
      expect(refused).toMatchObject({ code: "RFAAS_NODE_FAILED" });
      expect((refused as Error).message).toContain("docker pull localhost/rfaas-missing:1");
      for (const image of ["--privileged", "usr/", "dir:/etc"]) {
        const odd = await rf.allocate(MODULE, { image }).catch((error: Error) => error);
        expect(odd).toBeInstanceOf(LeaseRefused);
        expect(odd).toMatchObject({ code: "RFAAS_NOT_ALLOWED" });
      }
    }, 120_000);
  });
