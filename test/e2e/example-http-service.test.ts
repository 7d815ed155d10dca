/** The example of an HTTP service, from a copy of its folder: what its clients see while they, workers and nodes go away. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { Example } from "../support/example.ts";
import { ServedNode, rfaas } from "../support/executable.ts";
import { FABRIC } from "../support/fabric.ts";
import { RunningManager } from "../support/manager.ts";
import { alive, descendants, parentOf } from "../support/processes.ts";
import { until } from "../support/until.ts";

/** How many primes there are below what. */
const BELOW_A_MILLION = 78_498;
const LONG = { below: 20_000_000, primes: 1_270_607 };
const ENDLESS = 1e10;
/** Longer than any test waits. */
const PATIENT = { "X-Timeout-Ms": "60000" };

let example: Example;
beforeEach(() => {
  example = new Example("http-service");
});
afterEach(() => example[Symbol.dispose]());

interface Answer {
  status: number;
  body: unknown;
  retryAfter: string | null;
}

/** A running service. */
class Service implements AsyncDisposable {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  stderr = "";
  stdout = "";

  private constructor(env: Record<string, string>) {
    const child = example.spawn(["rfaas", "run", "server.ts"], { PORT: "0", ...env });
    this.child = child;
    void (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream()))
        this.stderr += text;
    })();
    void (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream()))
        this.stdout += text;
    })();
  }

  static async start(env: Record<string, string> = {}): Promise<Service> {
    const service = new Service(env);
    await until(() => {
      if (service.child.exitCode !== null) throw new Error(`it ended:\n${service.stderr}`);
      return service.stdout.includes("listening at ");
    }, "the service listens");
    await until(async () => (await service.get("/healthz")).status === 200, "it has a lease");
    return service;
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Answer> {
    const url = new URL(path, /listening at (\S+)/.exec(this.stdout)![1]);
    const response = await fetch(url, init);
    const retryAfter = response.headers.get("Retry-After");
    return { status: response.status, body: await response.json(), retryAfter };
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.fetch(path, { headers });
  }

  primes(below: number, timeoutMs = 60_000): Promise<Answer> {
    return this.get(`/primes?below=${below}`, { "X-Timeout-Ms": String(timeoutMs) });
  }

  summary(samples: unknown): Promise<Answer> {
    const body = JSON.stringify({ samples });
    return this.fetch("/summaries", { method: "POST", body, headers: PATIENT });
  }

  async inFlight(count: number): Promise<void> {
    await until(
      async () => ((await this.get("/healthz")).body as { inFlight: number }).inFlight === count,
      `${count} requests are in flight`,
    );
  }

  get node(): number {
    return descendants(this.child.pid).find((pid) => parentOf(pid) === this.child.pid)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const started = descendants(this.child.pid);
    this.child.kill("SIGKILL");
    await this.child.exited;
    await until(() => !started.some(alive), "node and hosts have ended");
  }
}

test("requests are answered with what the functions return, or with what is wrong with them", async () => {
  await using service = await Service.start();
  const many = await Promise.all(Array.from({ length: 8 }, () => service.primes(1e6)));
  expect(many).toEqual(many.map(() => ({ status: 200, body: BELOW_A_MILLION, retryAfter: null })));
  const { body } = await service.summary([2, 4, 4, 4, 5, 5, 7, 9]);
  expect(body).toEqual({ count: 8, mean: 5, deviation: 2 });

  expect(await service.summary([1, "two"])).toMatchObject({
    status: 422,
    body: { error: expect.stringContaining("/samples/1") },
  });
  expect((await service.get("/primes")).status).toBe(422);
  expect((await service.get("/nothing")).status).toBe(404);
  expect((await service.fetch("/summaries", { method: "POST", body: "{" })).status).toBe(422);
});

test("a request ends at its deadline, and so does the work for it", async () => {
  await using service = await Service.start();
  // On a busy machine a deadline may pass before the function begins.
  await until(async () => {
    expect((await service.primes(ENDLESS, 200)).status).toBe(504);
    return service.stderr.includes("stopped counting");
  }, "the function stops");
  expect((await service.primes(1e6)).body).toBe(BELOW_A_MILLION);
});

test("the work for a client that goes away stops", async () => {
  await using service = await Service.start();
  const leaving = new AbortController();
  const gone = service
    .fetch(`/primes?below=${ENDLESS}`, { signal: leaving.signal, headers: PATIENT })
    .catch((error) => error.name);
  await service.inFlight(1);
  leaving.abort();
  expect(await gone).toBe("AbortError");
  await until(() => service.stderr.includes("stopped counting"), "the function stops");
  await service.inFlight(0);
});

test("requests beyond what may be in flight are told to come back later, and others go on", async () => {
  await using service = await Service.start({ MAX_IN_FLIGHT: "2" });
  const leaving = new AbortController();
  const path = `/primes?below=${ENDLESS}`;
  const two = [0, 1].map(() => service.fetch(path, { signal: leaving.signal }).catch(() => {}));
  await service.inFlight(2);
  expect(await service.primes(1e6)).toMatchObject({ status: 429, retryAfter: "1" });
  leaving.abort();
  await Promise.all(two);
  await service.inFlight(0);
  expect((await service.primes(1e6)).body).toBe(BELOW_A_MILLION);
});

describe.each(["worker", "node"] as const)("when a %s is killed", (what) => {
  const kill = (service: Service) => {
    const { node } = service;
    const victims = what === "node" ? [node] : descendants(node);
    expect(victims).not.toBeEmpty();
    for (const pid of victims) process.kill(pid, "SIGKILL");
  };

  test("requests that may be repeated are answered all the same", async () => {
    await using service = await Service.start();
    const all = Array.from({ length: 4 }, () => service.primes(LONG.below));
    await service.inFlight(4);
    kill(service);
    const answers = await Promise.all(all);
    expect(answers.map(({ body }) => body)).toEqual(answers.map(() => LONG.primes));
    await until(() => service.stderr.includes("taking another lease"), "it says so");
  });

  test("of the others, at most those in flight see a 503, and all that come later are answered", async () => {
    await using service = await Service.start();
    const CLIENTS = 8;
    const answers: Answer[] = [];
    let wanted = Infinity;
    const client = async () => {
      while (answers.length < wanted) answers.push(await service.summary([1, 3]));
    };
    const clients = Array.from({ length: CLIENTS }, client);
    await until(() => answers.length > 50, "there is load");
    kill(service);
    await until(() => service.stderr.includes("taking another lease"), "it says so");
    wanted = answers.length + 200;
    await Promise.all(clients);
    const refused = answers.filter(({ status }) => status !== 200);
    expect(
      refused.filter(({ status, retryAfter }) => status !== 503 || retryAfter !== "1"),
    ).toEqual([]);
    expect(refused.length).toBeLessThanOrEqual(CLIENTS);
    expect(answers.at(-1)!.body).toEqual({ count: 2, mean: 2, deviation: 1 });
  });
});

test("of a cluster, a node that is taken out of service is left without a failed request", async () => {
  await using manager = await RunningManager.start(example.path);
  const serve = (name: string) =>
    ServedNode.start(example.join(`${name}.sock`), [
      ...["--manager", manager.address, "--name", name, "--fabric", FABRIC],
      ...["--cores", "2", "--drain", "60"],
    ]);
  await using first = await serve("first");
  const env = { RFAAS_MANAGER: manager.address, MAX_IN_FLIGHT: "10000" };
  await using service = await Service.start(env);
  await using second = await serve("second");
  const answers: Promise<Answer>[] = [];
  const load = setInterval(() => answers.push(service.summary([1, 3])), 5);
  try {
    answers.push(service.primes(1e6), service.primes(1e6));
    await until(() => answers.length > 50, "there is load");
    first.kill("SIGTERM");
    expect(await first.exited).toBe(0);
    const { length } = answers;
    await until(() => answers.length > length + 50, "there is more load");
  } finally {
    clearInterval(load);
  }
  const statuses = new Set((await Promise.all(answers)).map(({ status }) => status));
  expect([...statuses]).toEqual([200]);
  expect(service.stderr).toContain("taking another lease");
  const { stdout } = await rfaas(["ps", "--json", "--node", second.address]);
  expect((JSON.parse(stdout) as { leases: unknown[] }).leases).toHaveLength(1);
});

test("by SIGTERM under load it answers all that it has taken, gives its workers back, and exits with 0", async () => {
  await using service = await Service.start({ DRAIN_MS: "60000" });
  const all = Array.from({ length: 6 }, () => service.primes(LONG.below));
  await service.inFlight(6);
  const started = descendants(service.child.pid);
  service.child.kill("SIGTERM");
  const answers = await Promise.all(all);
  expect(answers.map(({ body }) => body)).toEqual(answers.map(() => LONG.primes));
  expect(await service.child.exited).toBe(0);
  await until(() => !started.some(alive), "node and hosts have ended");
  expect(service.stderr).toContain("SIGTERM: 6 requests in flight");
  await expect(service.get("/healthz")).rejects.toThrow();
});
