//! `[notify]`: channels, what they tell, and what would never arrive.

use std::{path::Path, time::Duration};

use uplinkd_config::parse;
use uplinkd_model::{
    Notify,
    notify::{Address, Means, Template, Topic, Wanted},
};

use crate::{shown, with_two};

fn notify(rest: &str) -> Notify {
    let text = with_two(rest);
    let parsed = parse("conf/u.toml", &text).unwrap_or_else(|_| panic!("{}", shown(&text)));
    parsed.notify().clone()
}

#[test]
fn nobody_is_told_unless_a_channel_is_written() {
    assert_eq!(notify(""), Notify::default());
    assert_eq!(notify("[notify]\nevents = [\"all\"]\n").channels, []);
    assert_eq!(notify("[notify.hooks]\n").channels.len(), 1);
}

#[test]
fn channels_come_in_order_with_their_own_wishes_or_those_of_all() {
    let notify = notify(
        "[notify]\nevents = [\"uplink\", \"group\"]\ntogether = \"2s\"\nper_hour = 5\n\
         [notify.hooks]\nevents = [\"all\"]\ndir = \"hooks\"\ntimeout = \"1s\"\n\
         [notify.webhook.z]\nurl = \"http://192.0.2.1:8080/x\"\n\
         [notify.webhook.a]\ntemplate = \"telegram\"\nto = \"7\"\ntoken_file = \"t\"\n\
         [notify.webhook.m]\ntemplate = \"slack\"\nurl_file = \"/etc/s\"\n\
         [notify.mail]\nto = [\"a@b.example\", \"root\"]\n",
    );
    assert_eq!(notify.together, Duration::from_secs(2));
    assert_eq!(notify.per_hour, 5);
    let names: Vec<_> = notify.channels.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["hooks", "z", "a", "m", "mail"]);
    let topics = Wanted::Topics([Topic::Uplink, Topic::Group].into());
    let wanted: Vec<_> = notify.channels.iter().map(|c| &c.wanted).collect();
    assert_eq!(wanted[0], &Wanted::All);
    assert!(wanted[1..].iter().all(|w| **w == topics));
    let means: Vec<_> = notify.channels.into_iter().map(|c| c.means).collect();
    match &means[..] {
        [
            Means::Hooks(hooks),
            Means::Webhook(z),
            Means::Webhook(a),
            Means::Webhook(m),
            Means::Mail(mail),
        ] => {
            assert_eq!(hooks.dir, Path::new("conf/hooks"));
            assert_eq!(hooks.limit, Duration::from_secs(1));
            assert_eq!(z.template, Template::Json);
            assert_eq!(a.token_file.as_deref(), Some(Path::new("conf/t")));
            assert!(matches!(&a.address, Address::Url(u) if u.authority() == "api.telegram.org"));
            assert_eq!(m.address, Address::File("/etc/s".into()));
            assert_eq!(mail.to, ["a@b.example", "root"]);
            assert_eq!(mail.program, Path::new("/usr/sbin/sendmail"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_would_never_arrive_is_refused_with_a_remedy() {
    for (rest, words) in [
        ("[notify]\nevents = []", "`events` in [notify] names none"),
        ("[notify]\nevents = [\"uplnk\"]", "did you mean \"uplink\"?"),
        ("[notify]\nhook = 1", "did you mean `hooks`?"),
        ("[notify.hooks]\nuser = \"root\"", "cannot be root"),
        ("[notify.hooks]\ntimeout = \"10m\"", "must be 100ms to 1m"),
        (
            "[notify.webhook]\nurl = \"https://a/\"",
            "every webhook has a name",
        ),
        ("[notify.webhook.x]", "[notify.webhook.x] has no `url`"),
        (
            "[notify.webhook.mail]\nurl = \"https://a/\"",
            "the name of another channel",
        ),
        (
            "[notify.webhook.x]\nurl = \"ntfy.sh/x\"",
            "begins neither with https://",
        ),
        (
            "[notify.webhook.x]\nurl = \"https://u:secret@a/\"",
            "use `token_file`",
        ),
        (
            "[notify.webhook.x]\nurl = \"https://a/\"\nurl_file = \"f\"",
            "has both `url` and `url_file`",
        ),
        (
            "[notify.webhook.x]\nurl = \"http://a/\"\ntoken_file = \"f\"",
            "without encryption",
        ),
        (
            "[notify.webhook.x]\nurl = \"https://a/\"\ntemplate = \"slak\"",
            "did you mean \"slack\"?",
        ),
        (
            "[notify.webhook.x]\nurl = \"https://a/\"\nto = \"7\"",
            "`to` has no meaning",
        ),
        (
            "[notify.webhook.x]\ntemplate = \"telegram\"\ntoken_file = \"f\"",
            "has no chat to write to",
        ),
        (
            "[notify.webhook.x]\ntemplate = \"telegram\"\nto = \"7\"",
            "has no bot to write as",
        ),
        (
            "[notify.webhook.x]\ntemplate = \"ntfy\"\nurl = \"https://ntfy.sh/\"",
            "names no topic",
        ),
        ("[notify.mail]", "has nobody to write to"),
        (
            "[notify.mail]\nto = []",
            "`to` in [notify.mail] names nobody",
        ),
        ("[notify.mail]\nto = [\"a\\nBcc: b\"]", "that is no address"),
        ("[notify.mail]\nto = [\"a, b\"]", "that is no address"),
        (
            "[notify.mail]\nto = [\"a\"]\nfrom = \"R <a@b>\"",
            "write the bare address",
        ),
        (
            "[notify.mail]\nto = [\"a\"]\nsendmail = \"msmtp\"",
            "write the whole path",
        ),
    ] {
        let shown = shown(&with_two(&format!("{rest}\n")));
        assert!(shown.contains(words), "{rest}\n{shown}");
    }
}
