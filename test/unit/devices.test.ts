import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import type { NetworkInterfaceInfo } from "node:os";
import { dirname } from "node:path";
import { EXIT, RfaasError } from "../../src/base/errors.ts";
import {
  type DeviceChoice,
  type Interfaces,
  type RdmaDevice,
  addressesOf,
  chooseGid,
  rdmaDevices,
} from "../../src/fabric/verbs/devices.ts";
import { FabricUnavailable } from "../../src/base/errors.ts";
import { Scratch } from "../support/scratch.ts";

/** `[gid, type, netdev]`; without a type or netdev, the kernel answers EINVAL when it is read. */
type FakeGid = readonly [gid: string, type?: string, netdev?: string];

interface FakePort {
  state?: string;
  physical?: string;
  linkLayer?: string;
  rate?: string;
  gids?: readonly FakeGid[];
}

interface FakeDevice {
  ports: readonly FakePort[];
  /** Hardware addresses of the interfaces of the card. */
  net?: Record<string, string>;
  parent?: string;
}

const EMPTY: FakeGid = ["0000:0000:0000:0000:0000:0000:0000:0000"];
const LINK_LOCAL = "fe80:0000:0000:0000:5054:00ff:fe12:3456";
const mapped = (hex: string) => `0000:0000:0000:0000:0000:ffff:${hex}`;

const RXE: FakeDevice = {
  parent: "eth0",
  ports: [
    {
      rate: "2.5 Gb/sec (1X)",
      gids: [[LINK_LOCAL, "RoCE v2", "eth0"], [mapped("0a4d:0001"), "RoCE v2", "eth0"], EMPTY],
    },
  ],
};

const ethernet = (netdev: string, subnet: string): FakeDevice => ({
  net: { [netdev]: "b8:59:9f:00:00:01" },
  ports: [
    {
      rate: "100 Gb/sec (4X EDR)",
      gids: [
        [LINK_LOCAL, "IB/RoCE v1", netdev],
        [LINK_LOCAL, "RoCE v2", netdev],
        [mapped(`${subnet}:0002`), "IB/RoCE v1", netdev],
        [mapped(`${subnet}:0002`), "RoCE v2", netdev],
        [`2001:0db8:0000:0000:0000:0000:${subnet}:0002`, "IB/RoCE v1", netdev],
        [`2001:0db8:0000:0000:0000:0000:${subnet}:0002`, "RoCE v2", netdev],
        EMPTY,
        EMPTY,
      ],
    },
  ],
});

/** One card of two ports is two devices of one port each. */
const MLX5 = { mlx5_0: ethernet("ens3f0np0", "0a00"), mlx5_1: ethernet("ens3f1np1", "0a01") };

const GUIDS = [
  "fe80:0000:0000:0000:0002:c903:00aa:0001",
  "fe80:0000:0000:0000:0002:c903:00aa:0002",
];
const ALIAS = "fe80:0000:0000:0000:0002:c903:00aa:1111";
const hardware = (gid: string) =>
  `80:00:02:08:${gid.replaceAll(":", "").replace(/(..)(?!$)/g, "$1:")}`;

/** One device of two ports, with an IPoIB interface each. */
const HCA: FakeDevice = {
  net: { ib0: hardware(GUIDS[0]!), ib1: hardware(GUIDS[1]!) },
  ports: [
    { linkLayer: "InfiniBand", gids: [[GUIDS[0]!, "IB/RoCE v1"], [ALIAS, "IB/RoCE v1"], EMPTY] },
    { linkLayer: "InfiniBand", gids: [[GUIDS[1]!, "IB/RoCE v1"], EMPTY] },
  ],
};

const ip = (address: string): NetworkInterfaceInfo =>
  ({ address, family: address.includes(":") ? "IPv6" : "IPv4" }) as NetworkInterfaceInfo;

const INTERFACES: Interfaces = {
  lo: [ip("127.0.0.1"), ip("::1")],
  eth0: [ip("10.77.0.1"), ip("fe80::5054:ff:fe12:3456")],
  ens3f0np0: [ip("10.0.0.2"), ip("fe80::5054:ff:fe12:3456")],
  ens3f1np1: [ip("10.1.0.2"), ip("fe80::5054:ff:fe12:3456")],
  ib0: [ip("fe80::202:c903:aa:1"), ip("192.168.50.1")],
  ib1: [ip("fd00:0:0:50::2")],
};

let scratch: Scratch;
beforeEach(() => {
  scratch = new Scratch();
});
afterEach(() => scratch[Symbol.dispose]());

function put(path: string, value: string | undefined): void {
  if (value === undefined) return;
  const file = scratch.join(`class/infiniband/${path}`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${value}\n`);
}

/** Writes the devices as the kernel shows them, and reads them. */
function devicesOf(
  devices: Record<string, FakeDevice>,
  interfaces: Interfaces = INTERFACES,
): RdmaDevice[] {
  for (const [name, { net, parent, ports }] of Object.entries(devices)) {
    put(`${name}/parent`, parent);
    for (const [netdev, address] of Object.entries(net ?? {}))
      put(`${name}/device/net/${netdev}/address`, address);
    ports.forEach((port, i) => {
      const folder = `${name}/ports/${i + 1}`;
      put(`${folder}/state`, port.state ?? "4: ACTIVE");
      put(`${folder}/phys_state`, port.physical ?? "5: LinkUp");
      put(`${folder}/link_layer`, port.linkLayer ?? "Ethernet");
      put(`${folder}/rate`, port.rate ?? "100 Gb/sec (4X EDR)");
      (port.gids ?? []).forEach(([gid, type, netdev], index) => {
        put(`${folder}/gids/${index}`, gid);
        put(`${folder}/gid_attrs/types/${index}`, type);
        put(`${folder}/gid_attrs/ndevs/${index}`, netdev);
      });
    });
  }
  return rdmaDevices(scratch.path, interfaces);
}

/** A port that is not active, with the GID that an interface has even then. */
const down = (port: FakePort): FakePort => ({
  state: "1: DOWN",
  physical: "3: Disabled",
  gids: [[LINK_LOCAL, "RoCE v2", "eth0"]],
  ...port,
});

function refusal(devices: readonly RdmaDevice[], choice?: DeviceChoice): FabricUnavailable {
  try {
    chooseGid(devices, choice);
  } catch (error) {
    expect(() => addressesOf(devices, choice)).toThrow((error as Error).message);
    return error as FabricUnavailable;
  }
  throw new Error("nothing was thrown");
}

describe("rdmaDevices", () => {
  test("is empty where there are none", () => {
    expect(rdmaDevices(scratch.path)).toEqual([]);
    mkdirSync(scratch.join("class/infiniband"), { recursive: true });
    expect(rdmaDevices(scratch.path)).toEqual([]);
  });

  test("does not fail on this machine, whatever it has", () => {
    expect(rdmaDevices()).toBeArray();
  });

  test("reads SoftRoCE over an Ethernet interface", () => {
    expect(devicesOf({ rxe0: RXE })).toEqual([
      {
        name: "rxe0",
        netdevs: ["eth0"],
        ports: [
          {
            number: 1,
            state: "ACTIVE",
            physicalState: "LinkUp",
            linkLayer: "Ethernet",
            rate: "2.5 Gb/sec (1X)",
            gids: [
              {
                index: 0,
                gid: LINK_LOCAL,
                type: "RoCE v2",
                netdev: "eth0",
                address: "fe80::5054:ff:fe12:3456%eth0",
              },
              {
                index: 1,
                gid: mapped("0a4d:0001"),
                type: "RoCE v2",
                netdev: "eth0",
                address: "10.77.0.1",
              },
            ],
          },
        ],
      },
    ]);
  });

  test("gives addresses to RoCE v2 GIDs only", () => {
    const [first, second] = devicesOf(MLX5);
    expect(first).toMatchObject({ name: "mlx5_0", netdevs: ["ens3f0np0"] });
    expect(second).toMatchObject({ name: "mlx5_1", netdevs: ["ens3f1np1"] });
    expect(first!.ports[0]!.gids.map(({ index, type, address }) => [index, type, address])).toEqual(
      [
        [0, "RoCE v1", null],
        [1, "RoCE v2", "fe80::5054:ff:fe12:3456%ens3f0np0"],
        [2, "RoCE v1", null],
        [3, "RoCE v2", "10.0.0.2"],
        [4, "RoCE v1", null],
        [5, "RoCE v2", "2001:db8::a00:2"],
      ],
    );
  });

  test("gives no address to a link-local GID whose address the interface does not have", () => {
    const [device] = devicesOf({ rxe0: RXE }, { eth0: [ip("10.77.0.1"), ip("fe80::1")] });
    expect(device!.ports[0]!.gids.map(({ address }) => address)).toEqual([null, "10.77.0.1"]);
  });

  test("takes a GID of Ethernet without a type as RoCE v1", () => {
    const [device] = devicesOf({ mlx4_0: { ports: [{ gids: [[mapped("0a00:0001")]] }] } });
    expect(device!.ports[0]!.gids).toEqual([
      { index: 0, gid: mapped("0a00:0001"), type: "RoCE v1", netdev: null, address: null },
    ]);
  });

  test("reads an InfiniBand adapter, with the addresses of the IPoIB interface of each GID", () => {
    const [device] = devicesOf({ mlx4_0: HCA });
    expect(device!.netdevs).toEqual(["ib0", "ib1"]);
    expect(device!.ports.map(({ number, linkLayer, gids }) => [number, linkLayer, gids])).toEqual([
      [
        1,
        "InfiniBand",
        [
          { index: 0, gid: GUIDS[0]!, type: "IB", netdev: "ib0", address: "192.168.50.1" },
          { index: 1, gid: ALIAS, type: "IB", netdev: null, address: null },
        ],
      ],
      [
        2,
        "InfiniBand",
        [{ index: 0, gid: GUIDS[1]!, type: "IB", netdev: "ib1", address: "fd00:0:0:50::2" }],
      ],
    ]);
  });

  test("gives the link-local address of an IPoIB interface its scope", () => {
    const [device] = devicesOf({ mlx4_0: HCA }, { ib0: [ip("fe80::202:c903:aa:1")] });
    const address = "fe80::202:c903:aa:1%ib0";
    expect(device!.ports[0]!.gids[0]).toMatchObject({ netdev: "ib0", address });
    expect(device!.ports[1]!.gids[0]).toMatchObject({ netdev: "ib1", address: null });
  });

  test("orders devices and GIDs by number", () => {
    const gids = Array.from({ length: 12 }, (_, i): FakeGid => [
      mapped(`0a00:00${i.toString(16).padStart(2, "0")}`),
      "RoCE v2",
      "eth0",
    ]);
    const devices = devicesOf({ mlx5_10: { ports: [{ gids }] }, mlx5_2: { ports: [{}] } });
    expect(devices.map(({ name }) => name)).toEqual(["mlx5_2", "mlx5_10"]);
    const indices = devices[1]!.ports[0]!.gids.map(({ index }) => index);
    expect(indices).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  test("adds the interfaces of GIDs to those of the card", () => {
    const gids: FakeGid[] = [
      [mapped("0a00:0001"), "RoCE v2", "eth0"],
      [mapped("0a63:0001"), "RoCE v2", "eth0.99"],
    ];
    const [device] = devicesOf({
      mlx5_0: { net: { eth0: "b8:59:9f:00:00:01" }, ports: [{ gids }] },
    });
    expect(device!.netdevs).toEqual(["eth0", "eth0.99"]);
  });

  test("says what the kernel does not tell", () => {
    mkdirSync(scratch.join("class/infiniband/odd0/ports/1"), { recursive: true });
    expect(rdmaDevices(scratch.path)).toEqual([
      {
        name: "odd0",
        netdevs: [],
        ports: [
          {
            number: 1,
            state: "UNKNOWN",
            physicalState: "UNKNOWN",
            linkLayer: "Ethernet",
            rate: "unknown",
            gids: [],
          },
        ],
      },
    ]);
  });
});

describe("chooseGid", () => {
  test("takes IPv4 first, then global IPv6, then link-local", () => {
    const take = (...gids: string[]) =>
      chooseGid(
        devicesOf({
          mlx5_0: { ports: [{ gids: gids.map((gid) => [gid, "RoCE v2", "eth0"] as const) }] },
        }),
      ).gid.address;
    const global = "2001:0db8:0000:0000:0000:0000:0000:0001";
    expect(take(LINK_LOCAL, global, mapped("0a4d:0001"))).toBe("10.77.0.1");
    expect(take(LINK_LOCAL, global, EMPTY[0])).toBe("2001:db8::1");
    expect(take(LINK_LOCAL, EMPTY[0], EMPTY[0])).toBe("fe80::5054:ff:fe12:3456%eth0");
  });

  test("takes the first active port", () => {
    const devices = devicesOf({ ...MLX5, mlx5_0: { ports: [down({})] } });
    expect(chooseGid(devices)).toMatchObject({
      device: "mlx5_1",
      port: 1,
      gid: { index: 3, type: "RoCE v2", address: "10.1.0.2" },
    });
  });

  test("passes over an active port without a usable GID", () => {
    const devices = devicesOf({ mlx5_0: { ports: [{}] }, rxe0: RXE });
    expect(chooseGid(devices)).toMatchObject({ device: "rxe0", gid: { address: "10.77.0.1" } });
  });

  test.each<[DeviceChoice, string, number, string]>([
    [{}, "mlx4_0", 1, "192.168.50.1"],
    [{ ibPort: 2 }, "mlx4_0", 2, "fd00:0:0:50::2"],
    [{ device: "mlx4_0", ibPort: 2, gidIndex: 0 }, "mlx4_0", 2, "fd00:0:0:50::2"],
    [{ device: "mlx5_1" }, "mlx5_1", 1, "10.1.0.2"],
    [{ device: "mlx5_1", gidIndex: 5 }, "mlx5_1", 1, "2001:db8::a01:2"],
    [{ gidIndex: 3 }, "mlx5_0", 1, "10.0.0.2"],
  ])("%j is %s port %d at %s", (choice, device, port, address) => {
    const devices = devicesOf({ mlx4_0: HCA, ...MLX5 });
    expect(chooseGid(devices, choice)).toMatchObject({ device, port, gid: { address } });
  });
});

describe("addressesOf", () => {
  test("is every address of the active ports, best first", () => {
    const devices = devicesOf({ mlx4_0: HCA, ...MLX5, rxe0: { ports: [down({})] } });
    expect(addressesOf(devices)).toEqual([
      "192.168.50.1",
      "10.0.0.2",
      "10.1.0.2",
      "fd00:0:0:50::2",
      "2001:db8::a00:2",
      "2001:db8::a01:2",
      "fe80::5054:ff:fe12:3456%ens3f0np0",
      "fe80::5054:ff:fe12:3456%ens3f1np1",
    ]);
  });

  test("has each address once", () => {
    expect(addressesOf(devicesOf({ rxe0: RXE, rxe1: RXE }))).toEqual([
      "10.77.0.1",
      "fe80::5054:ff:fe12:3456%eth0",
    ]);
  });

  test.each<[DeviceChoice, string[]]>([
    [{ device: "mlx4_0" }, ["192.168.50.1", "fd00:0:0:50::2"]],
    [{ ibPort: 2 }, ["fd00:0:0:50::2"]],
    [{ device: "mlx5_0", gidIndex: 5 }, ["2001:db8::a00:2"]],
  ])("keeps to the choice %j", (choice, addresses) => {
    expect(addressesOf(devicesOf({ mlx4_0: HCA, ...MLX5 }), choice)).toEqual(addresses);
  });
});

describe("the error of chooseGid and addressesOf", () => {
  test("is an error of rfaas with a code", () => {
    const error = refusal([]);
    expect(error).toBeInstanceOf(FabricUnavailable);
    expect(error).toBeInstanceOf(RfaasError);
    expect(error).toMatchObject({ name: "FabricUnavailable", code: "RFAAS_NO_VERBS" });
    expect(error.exitCode).toBe(EXIT.failed);
  });

  test("keeps a cause", () => {
    const cause = new Error("no such file");
    expect(new FabricUnavailable("m", {}, { cause }).cause).toBe(cause);
  });

  test("says that there is no device, and how to get one", () => {
    expect(refusal([]).message).toMatch(
      /^this machine has no RDMA device; .*: rdma link add rxe0 type rxe netdev eth0$/,
    );
    expect(refusal([], { device: "mlx5_0" })).toMatchObject({ device: "mlx5_0", port: undefined });
  });

  test("lists the devices when the one that is wanted is not there", () => {
    const error = refusal(devicesOf({ ...MLX5, rxe0: RXE }), { device: "mlx5_7" });
    expect(error.message).toBe("there is no RDMA device mlx5_7; choose mlx5_0, mlx5_1 or rxe0");
    expect(error.device).toBe("mlx5_7");
  });

  test("lists the ports when the one that is wanted is not there", () => {
    const devices = devicesOf({ mlx4_0: HCA, rxe0: RXE });
    const error = refusal(devices, { device: "mlx4_0", ibPort: 3 });
    expect(error.message).toBe(
      "there is no port 3 of mlx4_0; choose mlx4_0 port 1 or mlx4_0 port 2",
    );
    expect(error).toMatchObject({ device: "mlx4_0", port: 3 });
    expect(refusal(devices, { ibPort: 3 }).message).toBe(
      "there is no port 3 of mlx4_0 or rxe0; choose mlx4_0 port 1, mlx4_0 port 2 or rxe0 port 1",
    );
  });

  test("says that a device shows no ports", () => {
    mkdirSync(scratch.join("class/infiniband/mlx5_0"), { recursive: true });
    expect(refusal(rdmaDevices(scratch.path)).message).toBe(
      "the kernel shows no port of mlx5_0; load its driver again or choose another device",
    );
  });

  test.each<[string, FakeDevice, string]>([
    [
      "an Ethernet link that is down",
      { ports: [down({})] },
      "dev0 port 1 is DOWN (Disabled), not ACTIVE; bring the link up: ip link set eth0 up",
    ],
    [
      "an Ethernet link that is down and has no GID",
      { parent: "eth5", ports: [down({ gids: [] })] },
      "dev0 port 1 is DOWN (Disabled), not ACTIVE; bring the link up: ip link set eth5 up",
    ],
    [
      "an Ethernet link of an interface that is not known",
      { ports: [down({ gids: [] })] },
      "dev0 port 1 is DOWN (Disabled), not ACTIVE; bring the link up: ip link set INTERFACE up",
    ],
    [
      "an InfiniBand link that is down",
      { ports: [down({ linkLayer: "InfiniBand", physical: "2: Polling", gids: [[GUIDS[0]!]] })] },
      "dev0 port 1 is DOWN (Polling), not ACTIVE; check its cable and the port of its switch",
    ],
    [
      "an InfiniBand link without a subnet manager",
      { ports: [down({ linkLayer: "InfiniBand", state: "2: INIT", physical: "5: LinkUp" })] },
      "dev0 port 1 is INIT (LinkUp), not ACTIVE; start a subnet manager in its network: systemctl start opensm",
    ],
  ])("says what to do about %s", (_, device, message) => {
    const error = refusal(devicesOf({ dev0: device }));
    expect(error.message).toBe(message);
    expect(error).toMatchObject({ device: "dev0", port: 1 });
  });

  test("names all ports that are down, and only those that were asked for", () => {
    const devices = devicesOf({ rxe0: { ports: [down({})] }, rxe1: { ports: [down({})] } });
    const error = refusal(devices);
    expect(error.message).toStartWith(
      "rxe0 port 1 is DOWN (Disabled), not ACTIVE, rxe1 port 1 is ",
    );
    expect(error).toMatchObject({ device: undefined, port: undefined });
    expect(refusal(devices, { device: "rxe1" }).message).toStartWith("rxe1 port 1 is DOWN");
  });

  test("lists the GIDs when the one that is wanted is empty or not there", () => {
    const devices = devicesOf(MLX5);
    const error = refusal(devices, { device: "mlx5_0", gidIndex: 7 });
    expect(error.message).toBe(
      "there is no GID 7 of mlx5_0 port 1; choose GID 3 (10.0.0.2), 5 (2001:db8::a00:2) or 1 (fe80::5054:ff:fe12:3456%ens3f0np0)",
    );
    expect(error).toMatchObject({ device: "mlx5_0", port: 1 });
    expect(refusal(devices, { gidIndex: 999 }).message).toStartWith(
      "there is no GID 999 of mlx5_0 port 1 or mlx5_1 port 1; choose GID 3 (10.0.0.2, mlx5_0 port 1), 3 (10.1.0.2, mlx5_1 port 1), ",
    );
  });

  test("says that an address does not select a GID of RoCE v1", () => {
    const error = refusal(devicesOf(MLX5), { device: "mlx5_1", gidIndex: 2 });
    expect(error.message).toStartWith(
      "GID 2 of mlx5_1 port 1 (RoCE v1) has no IP address that selects it; choose GID 3 (10.1.0.2), ",
    );
  });

  test.each<[string, FakeDevice, string]>([
    [
      "an interface without an address",
      { ports: [{ gids: [[LINK_LOCAL, "RoCE v2", "eth9"]] }] },
      "give the interface an address: ip addr add ADDRESS/PREFIX dev eth9",
    ],
    [
      "a port without any GID",
      { net: { eth3: "b8:59:9f:00:00:01" }, ports: [{}] },
      "give the interface an address: ip addr add ADDRESS/PREFIX dev eth3",
    ],
    [
      "an IPoIB interface without an address",
      {
        net: { ib7: hardware(GUIDS[0]!) },
        ports: [{ linkLayer: "InfiniBand", gids: [[GUIDS[0]!]] }],
      },
      "give the interface an address: ip addr add ADDRESS/PREFIX dev ib7",
    ],
    [
      "an InfiniBand port without an IPoIB interface",
      { ports: [{ linkLayer: "InfiniBand", gids: [[GUIDS[0]!]] }] },
      "make its network interface: modprobe ib_ipoib, then give the interface an address: ip addr add ADDRESS/PREFIX dev ib0",
    ],
    [
      "a card that speaks RoCE v1 only",
      { ports: [{ gids: [[mapped("0a00:0001"), "IB/RoCE v1", "eth0"]] }] },
      "it speaks RoCE v1 only: choose a device that speaks RoCE v2",
    ],
  ])("says what to do about %s", (_, device, remedy) => {
    const error = refusal(devicesOf({ dev0: device }));
    expect(error.message).toBe(`no IP address selects a GID of dev0 port 1; ${remedy}`);
    expect(error).toMatchObject({ device: "dev0", port: 1 });
    expect(refusal(devicesOf({ dev0: device }), { gidIndex: 0 }).message).toBe(error.message);
  });
});
