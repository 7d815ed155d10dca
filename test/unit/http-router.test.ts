/** Which operation of the manager's HTTP interface a request asks for. */
import { describe, expect, test } from "bun:test";
import { HttpError } from "../../src/manager/http/operation.ts";
import { allow, find } from "../../src/manager/http/router.ts";
import { OPERATIONS } from "../../src/manager/http/routes.ts";

function refusal(run: () => unknown): HttpError {
  try {
    run();
  } catch (error) {
    if (error instanceof HttpError) return error;
    throw error;
  }
  throw new Error("was found");
}

describe("an operation", () => {
  test.each(OPERATIONS.map(({ id, method, path }) => [id, method, path] as const))(
    "is found by its method and path: %s",
    (id, method, path) => {
      const { operation, name } = find(method, path.replace("{name}", "rack%201:a"));
      expect([operation.id, name]).toEqual([id, path.includes("{name}") ? "rack 1:a" : ""]);
    },
  );

  test("that is asked for its head is the one that gets", () => {
    expect(find("HEAD", "/v1/nodes").operation.id).toBe("listNodes");
  });

  test.each([
    "/",
    "/v1",
    "/v1/nodes/",
    "/v1/nodes//drain",
    "/v1/nodes/a/b",
    "/V1/nodes",
    "/v1/nodes/../bill",
  ])("is not found at %s", (path) => {
    expect(refusal(() => find("GET", path))).toMatchObject({
      ...{ status: 404, code: "RFAAS_NOT_FOUND" },
    });
  });

  test.each([
    ["PUT", "/v1/nodes", "GET, POST, HEAD"],
    ["GET", "/v1/nodes/a/drain", "POST"],
    ["get", "/healthz", "GET, HEAD"],
  ])(
    "by another method is refused with those that are for its path: %s %s",
    (method, path, allowed) => {
      const error = refusal(() => find(method, path));
      expect(error).toMatchObject({ status: 405, headers: { allow: allowed } });
      expect(error.message).toBe(
        `${method} is not for this path; use ${allowed.replaceAll(", ", " or ")}`,
      );
    },
  );

  test("with escapes that are no UTF-8 in its name is refused", () => {
    expect(refusal(() => find("GET", "/v1/nodes/%ff"))).toMatchObject({
      status: 400,
      path: "/name",
    });
  });
});

test("a method that is among those allowed passes", () => {
  expect(allow("GET", ["GET", "HEAD"])).toBeUndefined();
});
