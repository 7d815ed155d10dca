/** Which fabric a client and a node take, of those that there are. */
import { describe, expect, test } from "bun:test";
import { EnvironmentError, FabricUnavailable } from "../../src/base/errors.ts";
import type { Fabric, FabricOffer } from "../../src/fabric/fabric.ts";
import {
  fabricFields as commandFields,
  readFabric,
} from "../../src/commands/shared/fabric-options.ts";
import {
  type FabricName,
  LOCAL_FABRIC,
  askedFor,
  chooseFabric,
  explainNoFabric,
  fabricFields,
  fabricNamed,
  fabrics,
  listenOver,
  offerFabrics,
  sharedFabrics,
} from "../../src/fabric/registry.ts";
import { ClientFabrics } from "../../src/client/lease/attach.ts";
import type { GrantedLease } from "../../src/client/node/connection.ts";
import { Scratch } from "../support/scratch.ts";

const names = fabrics.map(({ name }) => name);
const nowhere: FabricOffer[] = [];
/** As a node would make it that has what the fabric needs. */
const offerOf = (name: FabricName): FabricOffer => ({
  fabric: fabricNamed(name)!,
  description: name,
  listenFor: () => null,
  memoryFor: (bytes) => bytes,
  attach: () => Promise.reject(new Error("not in this test")),
});
/** One that fails when it is asked what it can do. */
const failing = (error: Error): Fabric<FabricName> => ({
  ...fabricNamed("verbs")!,
  offer() {
    throw error;
  },
});

describe("a fabric", () => {
  test.each(names)("named %s is found by its name, and none by another", (name) => {
    expect(fabricNamed(name)?.name).toBe(name);
    expect(fabricNamed(`${name}s`)).toBeUndefined();
    expect(fabricNamed("")).toBeUndefined();
  });

  test.each(fabrics)("$name lets clients connect exactly where they share no memory", (fabric) => {
    expect(fabric.listen === undefined).toBe(fabric.sharesMemory);
  });

  test.each(fabrics)("$name is asked for by none of no options", (fabric) => {
    expect(fabric.askedBy({})).toBeUndefined();
  });

  test.each(fabrics.filter(({ family }) => family === undefined))(
    "$name tells the doctor of itself first",
    async (fabric) => {
      const [first, ...others] = await fabric.doctor();
      expect(first?.name).toBe(`fabric ${fabric.name}`);
      expect(others.filter(({ name }) => name.startsWith("fabric"))).toEqual([]);
    },
  );

  test("of a family has one finding for all, and further ones of its own", async () => {
    const ofi = fabrics.filter(({ family }) => family === "ofi");
    const found = await Promise.all(ofi.map(async (fabric) => await fabric.doctor()));
    expect(found.flat().filter(({ name }) => name === "fabric ofi")).toEqual([found[0]![0]!]);
    for (const [i, fabric] of ofi.entries())
      for (const { name } of found[i]!.slice(i === 0 ? 1 : 0))
        expect(name).toBe(`fabric ${fabric.name}`);
  });

  test("that processes of one machine use by themselves needs nothing that a machine may lack", () => {
    const local = fabricNamed(LOCAL_FABRIC)!;
    expect([local.sharesMemory, local.needs, local.name]).toEqual([true, undefined, names[0]!]);
  });
});

describe("what is chosen", () => {
  test("of libfabric is fast hardware before sockets, and what others reach only by its name", () => {
    expect(chooseFabric(["tcp", "ofi:cxi"], undefined)).toBe("ofi:cxi");
    expect(chooseFabric(["ofi:efa", "verbs"], undefined)).toBe("verbs");
    expect(chooseFabric(["ofi:tcp", "tcp"], undefined)).toBe("tcp");
    expect(chooseFabric(["ofi:tcp", "tcp"], "ofi:tcp")).toBe("ofi:tcp");
    expect(chooseFabric(["ofi:shm", "ofi:tcp", "tcp"], "ofi")).toBe("ofi:tcp");
    expect(chooseFabric(["ofi:tcp", "tcp"], "ofi:shm")).toBeUndefined();
  });

  test("is offered only by its name where others reach the same", () => {
    const asked = fabrics.filter(({ onRequest }) => onRequest);
    expect(asked.map(({ name }) => name)).toContain("ofi:tcp");
    expect(offerFabrics({}, asked)).toEqual([]);
  });

  test("may be a provider that an option names, and no other fabric beside it", () => {
    expect(askedFor({ ofi: { provider: "shm" } })?.name).toBe("ofi:shm");
    expect(askedFor({ ofi: { domain: "eth0" } })).toBeUndefined();
    const flags = { provider: "tcp", authKey: "0a0b" } as const;
    expect(readFabric({ fabric: "ofi", ...flags } as object)).toEqual({
      fabric: "ofi",
      ofi: flags,
    });
    expect(() => readFabric({ fabric: "tcp", provider: "shm" } as object)).toThrow(
      "--provider chooses libfabric's shm and --fabric tcp uses none; leave one out",
    );
  });

  test("is the first that both sides have, whatever order they name them in", () => {
    expect(chooseFabric(["verbs", "shm"], undefined)).toBe("shm");
    expect(chooseFabric(["verbs", "pigeon"], undefined)).toBe("verbs");
    expect(chooseFabric(["pigeon"], undefined)).toBeUndefined();
  });

  test("is what was wanted, or nothing", () => {
    expect(chooseFabric(["shm", "verbs"], "verbs")).toBe("verbs");
    expect(chooseFabric(["shm"], "verbs")).toBeUndefined();
  });

  test("is asked for by an option of a device, and not by one that only says how it is used", () => {
    expect(askedFor({})).toBeUndefined();
    expect(askedFor({ verbs: { inlineMax: 64 } })).toBeUndefined();
    expect(askedFor({ verbs: { gidIndex: 0 } })?.name).toBe("verbs");
    expect(askedFor({ verbs: { device: "mlx5_0", ibPort: 1 } })?.name).toBe("verbs");
  });
});

describe("what a process offers", () => {
  const absent = new FabricUnavailable("this machine has no such device");

  test("leaves out what this machine does not have", () => {
    const [only, ...others] = offerFabrics({}, [fabricNamed("shm")!, failing(absent)]);
    expect([only?.fabric.name, only?.description, others.length]).toEqual(["shm", "shm", 0]);
  });

  test("is an error when what is missing was wanted, or asked for by an option", () => {
    expect(() => offerFabrics({ fabric: "verbs" }, [failing(absent)])).toThrow(absent);
    const named = { verbs: { device: "mlx5_0" } };
    expect(() => offerFabrics(named, [failing(absent)])).toThrow(absent);
    expect(offerFabrics({ ...named, fabric: "shm" }, [failing(absent)])).toEqual([]);
  });

  describe("with encrypt", () => {
    const [shm, verbs, tcp] = (["shm", "verbs", "tcp"] as const).map((name) => fabricNamed(name)!);
    const usable = { ...verbs!, offer: () => offerOf("verbs") };
    const lacking = { ...tcp!, encryption: { problem: () => "it lacks libssl; install it" } };
    const offered = (among: Fabric<FabricName>[], options = {}) =>
      offerFabrics({ encrypt: true, ...options }, among).map(({ fabric }) => fabric.name);

    test("leaves out what sends and does not encrypt", () => {
      expect(offered([shm!, usable, tcp!])).toEqual(["shm", "tcp"]);
      expect(offerFabrics({ encrypt: false }, [shm!, usable, tcp!])).toHaveLength(3);
    });

    test("is an error where one is wanted that does not encrypt", () => {
      expect(() => offered([shm!, usable, tcp!], { fabric: "verbs" })).toThrow(
        "the fabric verbs does not encrypt what it sends; take tcp, or leave --encrypt out",
      );
      expect(() => offered([shm!, usable, tcp!], { verbs: { device: "mlx5_0" } })).toThrow(
        "the fabric verbs does not encrypt",
      );
    });

    test("is an error where nothing can encrypt what would travel, and none where nothing travels", () => {
      const why =
        "what the fabric tcp sends cannot be encrypted: it lacks libssl; install it, or leave --encrypt out";
      expect(() => offered([shm!, usable, lacking])).toThrow(why);
      expect(() => offered([shm!, lacking], { fabric: "tcp" })).toThrow(why);
      expect(offered([shm!, lacking], { fabric: "shm" })).toEqual(["shm"]);
      expect(offered([shm!])).toEqual(["shm"]);
    });
  });

  test("is an error when a fabric fails in another way", () => {
    const broken = new EnvironmentError("the memory is bad");
    expect(() => offerFabrics({}, [failing(broken)])).toThrow(broken);
  });

  test("reaches clients of other machines where it shares no memory", () => {
    const both = [offerOf("shm"), offerOf("verbs")];
    expect(sharedFabrics(both, ["verbs", "shm"], true)).toEqual(["shm", "verbs"]);
    expect(sharedFabrics(both, ["verbs", "shm"], false)).toEqual(["verbs"]);
    expect(sharedFabrics(both, ["shm"], false)).toEqual([]);
    expect(sharedFabrics(nowhere, ["shm"], true)).toEqual([]);
  });

  test("is explained where a client can use nothing of it, with what to do", () => {
    expect(explainNoFabric([offerOf("shm")], ["verbs"], true)).toBe(
      "the node serves shm and the client wants verbs; start the node with --fabric, or use another fabric",
    );
    expect(explainNoFabric([offerOf("shm"), offerOf("verbs")], ["shm"], false)).toBe(
      "the client is on another machine, or in another network namespace of this one, which the node reaches over verbs (it needs an RDMA device; see: rfaas doctor), and wants shm; let the client use --fabric verbs",
    );
    expect(explainNoFabric([offerOf("shm")], ["shm", "verbs"], false)).toBe(
      "the client is on another machine, or in another network namespace of this one, and the node serves shm alone, which reaches none; serve with --fabric verbs or tcp",
    );
    expect(explainNoFabric([offerOf("tcp")], ["shm"], false)).toBe(
      "the client is on another machine, or in another network namespace of this one, which the node reaches over tcp, and wants shm; let the client use --fabric tcp",
    );
    expect(explainNoFabric([offerOf("shm"), offerOf("ofi:tcp")], ["shm", "tcp"], false)).toEndWith(
      "and wants shm or tcp; serve with --fabric tcp, or let the client use --fabric ofi:tcp",
    );
  });
});

describe("what a command line asks", () => {
  // A command passes all of its options on, whatever fabrics add to them.
  const read = (options: object) => readFabric(options);

  test("is the fabric, and the options of each by its name", () => {
    expect(read({})).toEqual({});
    expect(read({ encrypt: true })).toEqual({ encrypt: true });
    expect(read({ fabric: "shm", json: true })).toEqual({ fabric: "shm" });
    expect(read({ device: "mlx5_0", ibPort: 2, inlineMax: 0 })).toEqual({
      verbs: { device: "mlx5_0", ibPort: 2, inlineMax: 0 },
    });
  });

  test("is refused where it asks for one fabric by its name and for another by its device", () => {
    expect(() => read({ fabric: "shm", ibPort: 1 })).toThrow(
      "--ib-port chooses an RDMA device and --fabric shm uses none; leave one out",
    );
    expect(read({ fabric: "shm", inlineMax: 64 }).fabric).toBe("shm");
    expect(read({ fabric: "verbs", ibPort: 1 }).verbs).toEqual({ ibPort: 1 });
  });

  test("is completed by a file of devices, and goes before it", () => {
    using scratch = new Scratch();
    const device = { ip_address: "10.0.0.1", port: 0, default_receive_buffer_size: 32 };
    const devices = scratch.file(
      "devices.json",
      JSON.stringify({
        devices: [
          { ...device, name: "mlx5_0", max_inline_data: 128 },
          { ...device, name: "mlx5_1", max_inline_data: 0 },
        ],
      }),
    );
    expect(read({ devices }).verbs).toEqual({ device: "mlx5_0", inlineMax: 128 });
    const second = { device: "mlx5_1", inlineMax: 64 };
    expect(read({ ...second, devices }).verbs).toEqual(second);
  });

  test("has no flag twice, whichever fabrics there are", () => {
    const schemas = new Set(fabrics.flatMap(({ options }) => options ?? []));
    const named = [
      ...[...schemas].flatMap(({ properties }) => Object.keys(properties)),
      ...fabrics.flatMap(({ flags }) => Object.keys(flags?.fields ?? {})),
    ];
    expect(new Set(named).size).toBe(named.length);
    expect(Object.keys(commandFields).toSorted()).toEqual(
      ["fabric", "encrypt", ...named].toSorted(),
    );
  });
});

test("a client that wants encryption opens no grant of a node that knows of none", async () => {
  const fabrics = new ClientFabrics({ fabric: "tcp", encrypt: true }, true);
  expect(fabrics.encrypts("tcp")).toBe(true);
  const granted = { slots: 8, polling: "hot", spinNs: 0, nonce: new Uint8Array(16) };
  const grant = { granted, descriptors: [] } as unknown as GrantedLease;
  const request = { workers: 1, memoryBytes: 4096, fabric: "tcp", encrypt: true };
  const opened = fabrics.attach(request, grant, { address: "127.0.0.1", port: 1 });
  const error: unknown = await opened.catch((error: unknown) => error);
  expect(String(error)).toContain("the node encrypts no data, and the client wants that");
});

test("programs have an option for each fabric that has options, by its name", () => {
  const { fabric: _, encrypt: __, ...ofEach } = fabricFields;
  expect(Object.keys(ofEach)).toEqual([
    ...new Set(fabrics.flatMap((one) => (one.options ? [one.family ?? one.name] : []))),
  ]);
});

test("a host listens over no fabric that its node cannot have meant", () => {
  const listen = (name: string, more = {}) =>
    // Refused before anything of the region is looked at.
    listenOver(
      name,
      undefined as never,
      { address: "10.0.0.1", options: {}, ...more },
      new Uint8Array(16),
    );
  expect(() => listen("shm")).toThrow("no client can connect over the fabric shm");
  expect(() => listen("pigeon")).toThrow("no client can connect over the fabric pigeon");
  expect(() => listen("verbs", { encrypt: true })).toThrow("the fabric verbs encrypts nothing");
});
