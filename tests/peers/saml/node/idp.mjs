// auth0's samlp as an identity provider of the tests: service providers and people are registered while it runs.
//   node idp.mjs CONFIG.json     CONFIG: {"key": PEM, "certificate": PEM}; says READY and its address when it listens.
import express from 'express';
import { createPublicKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const samlp = createRequire(import.meta.url)('samlp');
const SessionParticipants = createRequire(import.meta.url)('samlp/lib/sessionParticipants');
const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const EMAIL = 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress';
const REDIRECT = 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect';
const PASSWORD_CLASS = 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport';
const people = new Map(), serviceProviders = new Map(), sessions = new Map();
let site = '', issuer = '';

const VARIANTS = {
  assertion: () => ({}),
  response: () => ({ signResponse: true, signAssertion: false }),
  both: () => ({ signResponse: true }),
  'encrypted-both': (sp) => ({ signResponse: true, ...encryption(sp) }),
  'encrypted-assertion': (sp) => encryption(sp),
};

function encryption({ certificate }) {
  const pem = `-----BEGIN CERTIFICATE-----\n${certificate.match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
  return { encryptionCert: pem, encryptionPublicKey: createPublicKey(pem).export({ type: 'spki', format: 'pem' }) };
}

const app = express();
app.use(express.json());
app.use(express.urlencoded({ extended: false }));

app.post('/_test/sp', (req, res) => { serviceProviders.set(req.body.entity_id, req.body); res.json({}); });
app.post('/_test/user', (req, res) => { people.set(req.body.name, req.body); res.json({}); });

app.use((req, res, next) => {
  const cookie = /(?:^|; )idp=([0-9a-f]+)/.exec(req.headers.cookie ?? '')?.[1];
  req.session = sessions.get(cookie);
  if (!req.session) {
    const fresh = randomBytes(16).toString('hex');
    req.session = { participants: new SessionParticipants() };
    sessions.set(fresh, req.session);
    res.setHeader('Set-Cookie', `idp=${fresh}; Path=/; HttpOnly`);
  }
  next();
});

app.get('/metadata', (req, res) => samlp.metadata({
  issuer, cert: config.certificate, redirectEndpointPath: '/sso', postEndpointPath: '/sso',
  logoutEndpointPaths: { redirect: '/slo', post: '/slo' },
})(req, res));

app.post('/login', (req, res, next) => {
  const person = people.get(req.body.username);
  if (person?.password !== req.body.password) return next(new Error('wrong name or password'));
  req.session.person = person;
  return res.redirect(303, req.session.asked);
});

app.get('/sso', (req, res, next) => {
  if (!req.session.person) {
    req.session.asked = req.url;
    return res.type('html').send('<form method="post" action="/login"><input name="username">'
      + '<input type="password" name="password"><button>Sign in</button></form>');
  }
  return samlp.parseRequest(req, (error, request) => {
    if (error) return next(error);
    const sp = serviceProviders.get(request.issuer);
    if (!sp) return next(new Error('unknown service provider'));
    const person = req.session.person, sessionIndex = `_${randomBytes(16).toString('hex')}`;
    req.session.participants._participants.push({
      serviceProviderId: sp.entity_id, nameId: person.email, nameIdFormat: EMAIL, sessionIndex,
      serviceProviderLogoutURL: sp.sls, cert: sp.certificate, binding: REDIRECT,
    });
    return samlp.auth({
      issuer, cert: config.certificate, key: config.key, sessionIndex, destination: sp.acs, recipient: sp.acs,
      getPostURL: (audience, dom, _, done) => done(null, sp.acs), lifetimeInSeconds: 300,
      authnContextClassRef: PASSWORD_CLASS, nameIdentifierFormat: EMAIL, ...VARIANTS[sp.variant](sp),
      getUserFromRequest: () => ({
        id: person.email, displayName: person.display_name, emails: [{ value: person.email }],
        name: { givenName: person.display_name, familyName: 'Tester' }, groups: person.groups,
      }),
    })(req, res, next);
  });
});

app.all('/slo', (req, res, next) => samlp.logout({
  issuer, cert: config.certificate, key: config.key, deflate: true, protocolBinding: REDIRECT,
  signatureAlgorithm: 'rsa-sha256', digestAlgorithm: 'sha256', sessionParticipants: req.session.participants,
  clearIdPSession: (done) => { delete req.session.person; done(); },
})(req, res, next));

app.use((error, _req, res, _next) => res.status(400).type('text').send(`refused: ${error.message}`));

const server = app.listen(0, '127.0.0.1', () => {
  site = `http://127.0.0.1:${server.address().port}`;
  issuer = `${site}/samlp`;
  console.log(`READY ${site}`);
});
