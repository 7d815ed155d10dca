/** Docker for tests: the machine's own, or its client with podman's service in the place of Docker's, which speaks the same. */
import { docker } from "../../src/executor/sandbox/docker/driver.ts";
import { EMPTY_IMAGE } from "../../src/executor/sandbox/docker/line.ts";
import { whyNoPodman, withPodman } from "./podman.ts";
import { Scratch } from "./scratch.ts";
import { until } from "./until.ts";

export interface Docker extends AsyncDisposable {
  /** What comes before the command of a node that uses it. */
  readonly within: readonly string[];
}

export function whyNoDocker(): string | undefined {
  if (Bun.which("docker") === null)
    return "Docker's client is not installed; run: apt-get install docker.io";
  if (docker.whyNot() === undefined) return undefined;
  const lack = whyNoPodman();
  return lack && `Docker's service does not answer, and podman, which has one like it: ${lack}`;
}

export async function openDocker(): Promise<Docker> {
  if (docker.whyNot() === undefined) return { within: [], async [Symbol.asyncDispose]() {} };
  const scratch = new Scratch();
  const host = `unix://${scratch.join("docker.sock")}`;
  const cgroups = ["--runtime", "crun", "--cgroup-manager", "cgroupfs"];
  const service = Bun.spawn(
    [...withPodman, "podman", ...cgroups, "system", "service", "--time", "0", host],
    { stdio: ["ignore", "ignore", "ignore"] },
  );
  const client = ["env", `DOCKER_HOST=${host}`];
  const answers = (): boolean =>
    Bun.spawnSync([...client, "docker", "version"], { stdio: ["ignore", "ignore", "ignore"] })
      .exitCode === 0;
  await until(answers, "podman's service answers");
  return {
    within: client,
    async [Symbol.asyncDispose]() {
      Bun.spawnSync([...client, "docker", "image", "rm", EMPTY_IMAGE], {
        stdio: ["ignore", "ignore", "ignore"],
      });
      service.kill();
      await service.exited;
      scratch[Symbol.dispose]();
    },
  };
}
