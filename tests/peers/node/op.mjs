// The OpenID Provider the tests sign in at: npm oidc-provider, certified and unmodified, with a login form and a door for tests.
//
// Started as `node op.mjs CONFIG.json`; prints "READY <issuer>" once it listens and ends when its standard input closes,
// so that it never outlives the tests. CONFIG: {"port": 0 or a port, "keys": [private JWK…], "clients": [metadata…],
// "users": {sub: claims}, "claimsIn": "id_token" | "userinfo", "frontChannel": true for the last version of the library
// that signs people out in frames}.
//
// Below /_test, POST with a JSON body: client (metadata), user ({sub, password, claims}), withdraw ({sub}: whatever they granted), keys ({keys}, the first of a kind signs),
// settings ({claimsIn}); GET: events and requests, each of which empties what it reports.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const config = JSON.parse(readFileSync(process.argv[2], "utf8"));
const frontChannel = config.frontChannel ?? false;
const { Provider } = await import(frontChannel ? "oidc-provider-frontchannel" : "oidc-provider");
// The older version tells developers on standard output what they might do; that is for READY.
console.info = console.error;
const users = new Map();
const events = [];
const requests = [];

// --- what the provider remembers ---------------------------------------------------------------------------------

// The library's own memory adapter forgets after 1000 entries, and it forgets all when the provider is built anew.
class Store {
  static #entries = new Map();
  static #byUid = new Map();
  static #byGrant = new Map();

  constructor(model) {
    this.model = model;
  }

  #key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, lifetime) {
    const key = this.#key(id);
    Store.#entries.set(key, { payload, expires: lifetime ? Date.now() + lifetime * 1000 : Infinity });
    if (payload.uid) Store.#byUid.set(payload.uid, id);
    // A grant takes its tokens along when it goes, but not the interaction of the person who signs in instead.
    if (payload.grantId && !["Interaction", "Session"].includes(this.model)) {
      const held = Store.#byGrant.get(payload.grantId) ?? new Set();
      Store.#byGrant.set(payload.grantId, held.add(key));
    }
  }

  async find(id) {
    const entry = Store.#entries.get(this.#key(id));
    return entry && entry.expires > Date.now() ? entry.payload : undefined;
  }

  async findByUid(uid) {
    return this.find(Store.#byUid.get(uid));
  }

  async findByUserCode() {
    return undefined;
  }

  async consume(id) {
    (await this.find(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    Store.#entries.delete(this.#key(id));
  }

  static withdraw(accountId) {
    for (const [key, { payload }] of Store.#entries) if (key.startsWith("Grant:") && payload.accountId === accountId) Store.#entries.delete(key);
  }

  async revokeByGrantId(grantId) {
    for (const key of Store.#byGrant.get(grantId) ?? []) Store.#entries.delete(key);
  }
}

const clients = new Store("Client");

// --- the provider ------------------------------------------------------------------------------------------------

const SCOPES = ["openid", "offline_access", "profile", "email", "groups"];
const CLAIMS = {
  openid: ["sub"],
  profile: ["name", "given_name", "family_name", "preferred_username", "locale", "picture", "updated_at"],
  email: ["email", "email_verified"],
  groups: ["groups", "roles", "department"],
};
const AUTHENTICATION = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];
const TOLD = [
  "authorization.error",
  "authorization.success",
  "backchannel.error",
  "backchannel.success",
  "end_session.error",
  "end_session.success",
  "grant.error",
  "grant.success",
  "pushed_authorization_request.error",
  "pushed_authorization_request.success",
  "server_error",
  "userinfo.error",
];

// Version 7.0.0 took OIDC Front-Channel Logout out of the library, and has other names for some of what is used here. Each
// version passes over the names of the other, except those of features; `ack` says that a draft is meant as it was then.
const OLDER_FEATURES = {
  backchannelLogout: { enabled: true, ack: "draft-06" },
  frontchannelLogout: { enabled: true, ack: "draft-04" },
  issAuthResp: { enabled: true, ack: "draft-00" },
  pushedAuthorizationRequests: { enabled: true, ack: "draft-03" },
};

let issuer;
let keys = config.keys;
let claimsIn = config.claimsIn ?? "id_token";
let provider;
let answer;

// The library reads its configuration once, so a changed key or setting means a new provider over the same store.
function build() {
  provider = new Provider(issuer, {
    adapter: Store,
    jwks: { keys },
    cookies: { keys: ["a cookie key of the tests"] },
    scopes: SCOPES,
    claims: CLAIMS,
    acrValues: ["phr", "phrh"],
    clientAuthMethods: AUTHENTICATION,
    tokenEndpointAuthMethods: AUTHENTICATION,
    conformIdTokenClaims: claimsIn === "userinfo",
    pkce: { required: () => true },
    rotateRefreshToken: () => true,
    fetch: fetchAnywhere,
    findAccount: (context, sub) => users.has(sub) && { accountId: sub, claims: () => ({ sub, ...users.get(sub).claims }) },
    loadExistingGrant: consentForAll,
    interactions: { url: (context, interaction) => `/interaction/${interaction.uid}` },
    renderError: (context, out) => {
      context.type = "html";
      context.body = page("Refused", Object.entries(out).map(([name, value]) => `<p>${text(name)}: ${text(value)}</p>`).join(""));
    },
    features: {
      backchannelLogout: { enabled: true },
      claimsParameter: { enabled: true },
      devInteractions: { enabled: false },
      pushedAuthorizationRequests: { enabled: true },
      requestObjects: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (context, form) => {
          context.type = "html";
          context.body = page("Sign out", `${form}<button form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
        },
        postLogoutSuccessSource: (context) => {
          context.type = "html";
          context.body = page("Signed out", "");
        },
      },
      ...(frontChannel ? OLDER_FEATURES : {}),
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 3600, IdToken: 300, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  });
  for (const name of TOLD) {
    provider.on(name, (...told) => {
      const error = told.find((part) => part instanceof Error);
      const client = told.find((part) => part?.clientId) ?? told.find((part) => part?.oidc)?.oidc?.client;
      events.push({ name, client: client?.clientId ?? null, detail: error ? (error.error_description ?? error.message) : null });
      if (error) console.error(name, error.error_detail ?? error);
    });
  }
  answer = frontChannel ? provider.callback : provider.callback();
}

// The library's own fetch refuses loopback addresses, where the tests' back-channel endpoints live.
function fetchAnywhere(url, options) {
  const { dispatcher, ...rest } = options;
  return fetch(url, rest);
}

// Every client is first-party: nobody is asked for consent.
async function consentForAll(context) {
  const { client, session, params } = context.oidc;
  const known = session.grantIdFor(client.clientId);
  const grant = known ? await provider.Grant.find(known) : new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(SCOPES.join(" "));
  if (params.claims) {
    const asked = JSON.parse(params.claims);
    grant.addOIDCClaims([...Object.keys(asked.id_token ?? {}), ...Object.keys(asked.userinfo ?? {})]);
  }
  await grant.save();
  return grant;
}

// --- the login form ----------------------------------------------------------------------------------------------

function text(value) {
  return String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}</html>`;
}

function loginForm(hint, problem) {
  return page(
    "Sign in",
    `<form method="post">${problem}
      <label>Name <input name="login" value="${text(hint ?? "")}" autocomplete="off"></label>
      <label>Password <input name="password" type="password" autocomplete="off"></label>
      <button>Sign in</button>
      <button name="abort" value="yes">Give up</button>
    </form>`,
  );
}

async function interact(request, response) {
  const { params, prompt } = await provider.interactionDetails(request, response);
  // The person has signed in, and agrees to what prompt=consent asks: offline_access is not given without it.
  if (prompt.name === "consent") return provider.interactionFinished(request, response, { consent: {} }, { mergeWithLastSubmission: true });
  response.setHeader("content-type", "text/html; charset=utf-8");
  if (request.method !== "POST") return response.end(loginForm(params.login_hint, ""));
  const form = new URLSearchParams(await body(request));
  if (form.has("abort")) {
    const refusal = { error: "access_denied", error_description: "The person gave up." };
    return provider.interactionFinished(request, response, refusal, { mergeWithLastSubmission: false });
  }
  const login = form.get("login");
  if (users.get(login)?.password !== form.get("password")) {
    response.statusCode = 401;
    return response.end(loginForm(login, "<p role=alert>Wrong name or password.</p>"));
  }
  const account = frontChannel ? { account: login } : { accountId: login };
  const signedIn = { login: { ...account, amr: ["pwd"], acr: params.acr_values?.split(" ")[0] } };
  return provider.interactionFinished(request, response, signedIn, { mergeWithLastSubmission: false });
}

// --- the door for tests ------------------------------------------------------------------------------------------

const DOOR = {
  "POST /_test/client": async (metadata) => {
    await clients.upsert(metadata.client_id, metadata);
    await provider.Client.find(metadata.client_id); // throws when the metadata is not valid
  },
  "POST /_test/user": ({ sub, password, claims }) => {
    users.set(sub, { password, claims });
  },
  "POST /_test/withdraw": ({ sub }) => {
    Store.withdraw(sub);
  },
  "POST /_test/keys": (replacement) => {
    keys = replacement.keys;
    build();
  },
  "POST /_test/settings": (settings) => {
    claimsIn = settings.claimsIn;
    build();
  },
  "GET /_test/events": () => events.splice(0),
  "GET /_test/requests": () => requests.splice(0),
};

async function body(request) {
  let received = "";
  request.setEncoding("utf8");
  for await (const chunk of request) received += chunk;
  return received;
}

async function controlled(act, request, response) {
  response.setHeader("content-type", "application/json");
  try {
    const given = request.method === "POST" ? JSON.parse(await body(request)) : undefined;
    response.end(JSON.stringify((await act(given)) ?? {}));
  } catch (error) {
    response.statusCode = 400;
    response.end(JSON.stringify({ error: error.error_description ?? error.message }));
  }
}

// --- start and end -----------------------------------------------------------------------------------------------

const server = createServer(async (request, response) => {
  const path = request.url.split("?")[0];
  const act = DOOR[`${request.method} ${path}`];
  if (act) return controlled(act, request, response);
  requests.push(`${request.method} ${path}`);
  if (!path.startsWith("/interaction/")) return answer(request, response);
  try {
    return await interact(request, response);
  } catch (error) {
    response.statusCode = error.statusCode ?? 500;
    return response.end(page("Refused", text(error.error_description ?? error.message)));
  }
});

async function start() {
  issuer = `http://127.0.0.1:${server.address().port}`;
  for (const metadata of config.clients) await clients.upsert(metadata.client_id, metadata);
  for (const [sub, user] of Object.entries(config.users)) users.set(sub, user);
  build();
  console.log(`READY ${issuer}`);
}

function end() {
  server.close(() => process.exit(0));
  server.closeAllConnections();
}

server.listen(config.port, "127.0.0.1", start);
process.stdin.on("end", end).resume();
process.on("SIGTERM", end);
