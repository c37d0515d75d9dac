//! What is known of claims, and what follows: which services are followed for their sake, and the part that they make of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::board::{self, Board, Group};
use super::command::{self, Ordered};
use super::part::{Given, Rejected, Stock, part};
use super::text::{self, Light};
use super::{Claim, Malformed, Place};
use crate::config::{Config, Documents, Lookup, Part, Selection, ServiceRoutes};
use crate::endpoint::{List, Listed};
use crate::metrics::{ClaimSeries, Metrics};
use crate::table::Lists;

/// How long the first answers may take before what there is goes without them.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where there are commands of before the start to go by, as for lists.
const GRACE: Duration = Duration::from_secs(1);
/// After all of it was put together for the sake of a list, that rests for this many times as long as it took: with a thousand services a
/// part takes milliseconds, and lists may come a hundred times a second. Who is in a cluster does not wait for that.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Claims of one service; more are a mistake.
const MOST: usize = 256;
/// New rejections that are said one by one.
const SAID: usize = 20;

/// All that is known of claims.
#[derive(Debug)]
pub(in crate::discovery) struct Claims {
    settings: ServiceRoutes,
    /// Who announces routes; unknown before the first answer.
    announced: Option<BTreeSet<Arc<str>>>,
    followed: BTreeMap<Arc<str>, Selection>,
    /// What each service's list says, as far as it has been read.
    read: BTreeMap<Arc<str>, Read>,
    /// The last good commands; unknown before the first answer.
    orders: Option<Vec<Ordered>>,
    /// Those of before the start, which count if nothing better is to be had.
    before: Option<Vec<Ordered>>,
    /// What stands in the store where those are from that count, or would.
    good: Option<Arc<Documents>>,
    /// True if something else than a list has changed since the last part.
    changed: bool,
    /// When it goes on without answers; none once it does.
    patience: Option<Instant>,
    /// Until when lists wait for each other, and whether one does.
    rest: Option<(Instant, bool)>,
    rejected: BTreeSet<Rejected>,
    stock: Stock,
    series: Arc<ClaimSeries>,
}

/// What a list says.
#[derive(Debug)]
struct Read {
    list: List,
    claims: BTreeMap<Arc<str>, Result<Claim, Malformed>>,
}

impl Read {
    /// True if this list says what the one before it said, as far as claims go by it; then it is the one that was read.
    fn goes_on_with(&mut self, list: &List) -> bool {
        if Arc::ptr_eq(&self.list, list) {
            return true;
        }
        let is_like = |(a, b): (&Listed, &Listed)| {
            let is_same = a.address == b.address && a.tags == b.tags;
            is_same && a.locality.datacenter == b.locality.datacenter && board::serves(a) == board::serves(b)
        };
        let goes_on = self.list.len() == list.len() && self.list.iter().zip(list.iter()).all(is_like);
        if goes_on {
            self.list = Arc::clone(list);
        }
        goes_on
    }
}

impl Claims {
    /// Nothing yet but who had claims before the start.
    pub(in crate::discovery) fn new<'a>(
        settings: &ServiceRoutes,
        metrics: &Metrics,
        recalled: impl Iterator<Item = (&'a Selection, &'a List)>,
        now: Instant,
    ) -> Self {
        let mut claims = Claims {
            settings: settings.clone(),
            announced: None,
            followed: BTreeMap::new(),
            read: BTreeMap::new(),
            orders: None,
            before: None,
            good: None,
            changed: true,
            patience: Some(now + PATIENCE),
            rest: None,
            rejected: BTreeSet::new(),
            stock: Stock::default(),
            series: metrics.claims(),
        };
        let is_whole = |selection: &Selection| {
            let Selection { filter, datacenter, peer, lookup, .. } = selection;
            filter.is_none() && datacenter.is_none() && peer.is_none() && *lookup == Lookup::Service
        };
        for (selection, list) in recalled.filter(|(selection, _)| is_whole(selection)) {
            if claims.settings.admits(&selection.service) && claims.claims(list) {
                claims.followed.insert(selection.service.as_str().into(), selection.clone());
            }
        }
        claims
    }

    /// Goes on with the commands of whoever went by another file before; false if those are of another key.
    pub(in crate::discovery) fn succeed(&mut self, other: &mut Claims) -> bool {
        let is_same = self.settings.kv == other.settings.kv;
        if is_same {
            (self.orders, self.before, self.good) = (other.orders.take(), other.before.take(), other.good.take());
        }
        is_same
    }

    /// Commands of before the start, which were good then.
    pub(in crate::discovery) fn recall(&mut self, values: &Arc<Documents>, now: Instant) {
        let is_ours = |key: &str| values.keys().all(|name| name.starts_with(key));
        let Some(Ok(orders)) = self.settings.kv.as_deref().filter(|key| is_ours(key)).map(|_| self.orders_of(values))
        else {
            return;
        };
        (self.before, self.good) = (Some(orders), Some(Arc::clone(values)));
        self.patience = Some(now + GRACE);
    }

    /// What stands in the store where the commands are from that count, or would if nothing better were to be had.
    pub(in crate::discovery) fn good(&self) -> Option<&Arc<Documents>> {
        self.good.as_ref()
    }

    /// What it goes by.
    pub(in crate::discovery) fn settings(&self) -> &ServiceRoutes {
        &self.settings
    }

    /// Who announces routes, as of now.
    pub(in crate::discovery) fn announced(&mut self, names: &BTreeSet<Arc<str>>) {
        self.announced = Some(names.clone());
        self.changed = true;
    }

    /// The file is another one, though it says the same of claims.
    pub(in crate::discovery) fn rebase(&mut self) {
        self.stock = Stock::default();
        self.changed = true;
    }

    /// True if there may be another part than before.
    pub(in crate::discovery) fn is_due(&mut self, lists: &Lists, now: Instant) -> bool {
        self.rest = self.rest.filter(|(until, _)| *until > now);
        if self.changed || self.patience.is_some_and(|patience| patience <= now) {
            return true;
        }
        let read = &mut self.read;
        let is_read = |(name, selection): (&Arc<str>, &Selection)| match (read.get_mut(name), lists.get(selection)) {
            (Some(read), Some(list)) => read.goes_on_with(list),
            (known, list) => known.is_none() && list.is_none(),
        };
        let is_due = !self.followed.iter().all(is_read);
        match &mut self.rest {
            Some((_, waits)) => {
                *waits = is_due;
                false
            }
            None => is_due,
        }
    }

    /// It took so long to put all of it together.
    pub(in crate::discovery) fn rest(&mut self, took: Duration, now: Instant) {
        if self.is_settled() {
            self.rest = Some((now + (took * REST).min(LONGEST_REST), false));
        }
    }

    /// What stands under the key of commands, as of now: all of it is good, or what was good before stays.
    pub(in crate::discovery) fn ordered(&mut self, values: &Documents) {
        self.changed = true;
        match self.orders_of(values) {
            Ok(orders) => {
                info!(commands = orders.len(), "route commands are in force");
                (self.orders, self.before) = (Some(orders), None);
                self.good = Some(Arc::new(values.clone()));
                self.series.commands(true);
            }
            Err(error) => {
                warn!(%error, "route commands are refused; the last good ones stay in force");
                // Without any that were good there is nothing to wait for.
                let before = self.before.take();
                self.orders.get_or_insert_with(|| before.unwrap_or_default());
                self.series.commands(false);
            }
        }
    }

    /// The commands among what stands under their key.
    fn orders_of(&self, values: &Documents) -> Result<Vec<Ordered>, Malformed> {
        let key = self.settings.kv.as_deref().unwrap_or_default();
        // A longer key beside it is somebody else's.
        let is_ours =
            |name: &&String| name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let text = |(name, value): (&String, &Vec<u8>)| {
            let text = String::from_utf8(value.clone()).map_err(|_| Malformed(format!("{name}: it is not UTF-8")));
            Ok((name.clone(), text?))
        };
        let values = values.iter().filter(|(name, _)| is_ours(name));
        let texts: Result<BTreeMap<String, String>, Malformed> = values.map(text).collect();
        command::read(&texts?)
    }

    /// When it goes on without the answers that are missing, or with lists that wait.
    pub(in crate::discovery) fn next(&self) -> Option<Instant> {
        let rest = self.rest.filter(|(_, waits)| *waits).map(|(until, _)| until);
        self.patience.into_iter().chain(rest).min()
    }

    /// True once all has been heard that routes are made of, or has been waited for in vain.
    pub(in crate::discovery) fn is_settled(&self) -> bool {
        self.patience.is_none()
    }

    /// Brings who is followed in step with who announces routes. A service that is not announced any more is let go only when its own list
    /// has nothing to claim either: an answer that lacks its name may be of a server that replays its log, or hide it.
    pub(in crate::discovery) fn follow(&mut self, lists: &Lists) {
        let announced = self.announced.clone().unwrap_or_default();
        let is_wanted = |name: &Arc<str>, selection: &Selection| {
            let is_known = |list: &List| self.claims(list);
            // Before the first answer, a list from before the start is all there is to go by.
            self.announced.is_none() || announced.contains(name) || lists.get(selection).is_some_and(is_known)
        };
        let mut followed: BTreeMap<Arc<str>, Selection> = self
            .followed
            .iter()
            .filter(|(name, selection)| self.settings.admits(name) && is_wanted(name, selection))
            .map(|(name, selection)| (Arc::clone(name), selection.clone()))
            .collect();
        for name in announced.iter().filter(|name| self.settings.admits(name)) {
            if followed.len() < self.settings.max_services {
                followed.entry(Arc::clone(name)).or_insert_with(|| Selection::of(name));
            }
        }
        self.read.retain(|name, _| followed.contains_key(name));
        self.followed = followed;
    }

    /// Who is followed.
    pub(in crate::discovery) fn selections(&self) -> impl Iterator<Item = &Selection> {
        self.followed.values()
    }

    /// The part that all of it makes of the configuration; none before there is anything to go by.
    pub(in crate::discovery) fn part(&mut self, base: &Config, lists: &Lists, now: Instant) -> Option<Part> {
        let is_heard = self.announced.is_some()
            && (self.orders.is_some() || self.settings.kv.is_none())
            && self.followed.values().all(|selection| lists.contains_key(selection));
        self.changed = false;
        if is_heard || self.patience.is_some_and(|patience| patience <= now) {
            self.patience = None;
            if self.orders.is_none() && self.before.is_some() {
                warn!("the route commands from before the start count until others are read");
            }
        }
        if self.patience.is_some() && self.orders.is_none() && self.settings.kv.is_some() {
            // What a command takes away must not be there before it.
            return None;
        }
        let (mut board, mut rejected) = (Board::default(), BTreeSet::new());
        for (service, selection) in &self.followed {
            let Some(list) = lists.get(selection) else { continue };
            let known = self.read.remove(service).filter(|read| Arc::ptr_eq(&read.list, list));
            let read = known.unwrap_or_else(|| read(list, &self.settings));
            for (tag, claim) in &read.claims {
                let origin = || Arc::from(format!("{service}: {tag}"));
                match claim.as_ref().map_err(Clone::clone).and_then(|claim| self.bounded(claim)) {
                    Ok(claim) => {
                        let group = Group::of_tag((service, selection), tag, claim);
                        let ignored = claim.terms.ignored.iter();
                        rejected.extend(ignored.map(|option| Rejected::option(&group.origin, option)));
                        board.add(claim.place.clone(), group);
                    }
                    Err(Malformed(why)) => {
                        rejected.insert(Rejected { origin: origin(), why });
                    }
                }
            }
            self.read.insert(Arc::clone(service), read);
        }
        self.overflow(&mut rejected);
        for ordered in self.orders.as_ref().or(self.before.as_ref()).into_iter().flatten() {
            if !board.obey(ordered, lists) {
                let why = "changes nothing as things are".to_owned();
                rejected.insert(Rejected { origin: Arc::clone(&ordered.origin), why });
            }
        }
        let (part, more) = part(board, Given { base, lists }, &mut self.stock);
        rejected.extend(more);
        self.say(rejected, part.routes.len() + part.doors.len());
        Some(part)
    }

    /// Says who is not followed for want of room.
    fn overflow(&self, rejected: &mut BTreeSet<Rejected>) {
        let announced = self.announced.iter().flatten();
        let out = announced.filter(|name| self.settings.admits(name) && !self.followed.contains_key(*name));
        let why = || format!("service_routes.max_services = {} are followed already", self.settings.max_services);
        rejected.extend(out.map(|name| Rejected { origin: Arc::clone(name), why: why() }));
    }

    /// The claim, if it is one that may be made.
    fn bounded<'a>(&self, claim: &'a Claim) -> Result<&'a Claim, Malformed> {
        let is_allowed = match &claim.place {
            Place::Web { host, path } => self.settings.allows(host, path),
            Place::Name(host) => self.settings.allows_host(host),
            // Listeners say themselves whether they are to be had.
            Place::Port(_) => true,
        };
        if !is_allowed {
            return Err(Malformed(format!("{} may not be claimed: see service_routes.hosts and .paths", claim.place)));
        }
        if claim.terms.speech.skip_verify && !self.settings.skip_verify {
            return Err(Malformed::new("tlsskipverify=true takes service_routes.tls_skip_verify = true"));
        }
        Ok(claim)
    }

    /// True if somebody on the list claims anything.
    fn claims(&self, list: &List) -> bool {
        list.iter().any(|listed| listed.tags.iter().any(|tag| self.settings.claims(tag).is_some()))
    }

    /// Says what is rejected, each once for as long as it is.
    fn say(&mut self, rejected: BTreeSet<Rejected>, routes: usize) {
        let new: Vec<&Rejected> = rejected.difference(&self.rejected).collect();
        for Rejected { origin, why } in new.iter().take(SAID) {
            // Whoever registers a service writes what stands there.
            let origin = origin.escape_debug();
            warn!(%origin, why, "a claim is not served as it stands");
        }
        if new.len() > SAID {
            warn!(more = new.len() - SAID, "claims are not served as they stand");
        }
        self.series.now(routes, rejected.len());
        self.rejected = rejected;
    }
}

/// The claims of a list, by their tags: each read once.
fn read(list: &List, settings: &ServiceRoutes) -> Read {
    let mut claims: BTreeMap<Arc<str>, Result<Claim, Malformed>> = BTreeMap::new();
    for listed in list.iter() {
        let light = Light { datacenter: listed.locality.datacenter.as_deref() };
        for tag in listed.tags.iter() {
            let Some(claim) = settings.claims(tag).filter(|_| !claims.contains_key(&**tag)) else { continue };
            let claim = if claims.len() < MOST {
                text::claim(claim, light)
            } else {
                Err(Malformed(format!("there are more than {MOST} claims")))
            };
            if claims.len() <= MOST {
                claims.insert((**tag).into(), claim);
            }
        }
    }
    Read { list: Arc::clone(list), claims }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};
    use crate::endpoint::{Address, Status};

    #[test]
    fn lists_that_come_one_after_the_other_wait_for_each_other_and_none_is_forgotten() {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[service_routes]\nenabled=true";
        let config = parse(text, &Environment::default()).unwrap();
        let now = Instant::now();
        let settings = config.service_routes.as_ref().unwrap();
        let mut claims = Claims::new(settings, &Metrics::new(1), std::iter::empty(), now);
        let list = |tag: &str| -> List {
            [Listed { tags: [tag.into()].into(), ..Listed::new(Address::from(([127, 0, 0, 1], 80))) }].into()
        };
        let mut lists = Lists::new();
        lists.insert(Selection::of("web"), list("urlprefix-/a"));
        claims.announced(&BTreeSet::from(["web".into()]));
        assert!(claims.is_due(&lists, now));
        claims.follow(&lists);
        assert_eq!(claims.part(&config, &lists, now).unwrap().routes.len(), 1);
        claims.rest(Duration::from_millis(10), now);
        assert!(!claims.is_due(&lists, now));
        assert_eq!(claims.next(), None, "nothing waits");
        lists.insert(Selection::of("web"), list("urlprefix-/b"));
        assert!(!claims.is_due(&lists, now + Duration::from_millis(39)));
        assert_eq!(claims.next(), Some(now + Duration::from_millis(40)));
        assert!(claims.is_due(&lists, now + Duration::from_millis(40)));
        assert_eq!(claims.next(), None);
        claims.rest(Duration::from_secs(9), now);
        claims.announced(&BTreeSet::new());
        assert!(claims.is_due(&lists, now), "whatever else changes does not wait");
    }

    #[test]
    fn a_list_that_says_nothing_new_of_claims_has_them_put_together_no_more() {
        let text = "[[listeners]]\nname='a'\nbind='127.0.0.1:0'\n[service_routes]\nenabled=true";
        let config = parse(text, &Environment::default()).unwrap();
        let now = Instant::now();
        let settings = config.service_routes.as_ref().unwrap();
        let mut claims = Claims::new(settings, &Metrics::new(1), std::iter::empty(), now);
        let one = Listed { tags: ["urlprefix-/a".into()].into(), ..Listed::new(Address::from(([127, 0, 0, 1], 80))) };
        let mut lists = Lists::from([(Selection::of("web"), [one.clone()].into())]);
        claims.announced(&BTreeSet::from(["web".into()]));
        claims.follow(&lists);
        claims.part(&config, &lists, now).unwrap();
        let mut is_due_with = |listed: &[Listed]| {
            lists.insert(Selection::of("web"), listed.into());
            claims.is_due(&lists, now)
        };
        assert!(!is_due_with(&[Listed { weight: 7, status: Status::Warning, ..one.clone() }]));
        assert!(is_due_with(&[Listed { weight: 0, ..one.clone() }]), "who cannot serve has no share");
        assert!(is_due_with(&[Listed { tags: ["urlprefix-/b".into()].into(), ..one.clone() }]));
        assert!(is_due_with(&[one.clone(), Listed::new(Address::from(([127, 0, 0, 1], 81)))]));
    }
}
